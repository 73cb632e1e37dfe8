// SPDX-License-Identifier: Apache-2.0
// Implementation of update_log.h.
#include "common/replica/update_log.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace gradwire {

ChainHash ChainHashOf(const std::vector<std::string>& parts) {
  ChainHasher hasher;
  for (const std::string& part : parts) hasher.Add(part);
  return hasher.Finish();
}

std::shared_ptr<const Record> MakeRecord(uint64_t version, std::vector<std::string> parts,
                                         size_t payload_bytes) {
  auto record = std::make_shared<Record>();
  record->version = version;
  record->parts = std::move(parts);
  record->payload_bytes = payload_bytes;
  record->chain_hash = ChainHashOf(record->parts);
  for (const std::string& part : record->parts) record->bytes += part.size();
  return record;
}

absl::Status UpdateLog::Append(std::shared_ptr<const Record> record) {
  MutexLock lock(&mu_);
  const uint64_t next = records_.empty() ? 0 : records_.back()->version + 1;
  if (record->version != next) {
    return absl::FailedPreconditionError(
        absl::StrCat("record ", record->version, " does not follow: the log's next is ", next));
  }
  bytes_ += record->bytes;
  records_.push_back(std::move(record));
  return absl::OkStatus();
}

std::shared_ptr<const Record> UpdateLog::Find(uint64_t version) const {
  MutexLock lock(&mu_);
  if (records_.empty() || version < records_.front()->version ||
      version > records_.back()->version) {
    return nullptr;
  }
  return records_[version - records_.front()->version];  // no gaps: Append sees to it
}

UpdateLog::Range UpdateLog::range() const {
  MutexLock lock(&mu_);
  if (records_.empty()) return {};
  return {.empty = false,
          .oldest = records_.front()->version,
          .newest = records_.back()->version,
          .bytes = bytes_};
}

void UpdateLog::Trim(uint64_t snapshot_version, size_t max_bytes) {
  MutexLock lock(&mu_);
  while (records_.size() > 1 && bytes_ > max_bytes &&
         records_.front()->version <= snapshot_version) {
    bytes_ -= records_.front()->bytes;
    records_.pop_front();
  }
}

}  // namespace gradwire
