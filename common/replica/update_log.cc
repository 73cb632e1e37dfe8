// SPDX-License-Identifier: Apache-2.0
// Implementation of update_log.h.
#include "common/replica/update_log.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/replica/log_store.h"

namespace gradwire {

ChainHash ChainHashOf(const std::vector<std::string>& parts) {
  ChainHasher hasher;
  for (const std::string& part : parts) hasher.Add(part);
  return hasher.Finish();
}

std::shared_ptr<const Record> MakeRecord(uint64_t version, std::vector<std::string> parts,
                                         size_t payload_bytes, std::string server_part) {
  auto record = std::make_shared<Record>();
  record->version = version;
  record->parts = std::move(parts);
  record->payload_bytes = payload_bytes;
  record->server_part = std::move(server_part);
  record->chain_hash = ChainHashOf(record->parts);
  for (const std::string& part : record->parts) record->bytes += part.size();
  return record;
}

void UpdateLog::BeginAt(uint64_t version) {
  MutexLock lock(&mu_);
  cached_.clear();
  cached_bytes_ = 0;
  next_ = version;
}

absl::Status UpdateLog::Append(std::shared_ptr<const Record> record) {
  if (store_ != nullptr) GRADWIRE_RETURN_IF_ERROR(store_->Append(*record));
  MutexLock lock(&mu_);
  if (store_ == nullptr && record->version != next_) {
    return absl::FailedPreconditionError(
        absl::StrCat("record ", record->version, " does not follow: the log's next is ", next_));
  }
  next_ = record->version + 1;
  cached_bytes_ += record->bytes;
  cached_.push_back(std::move(record));
  while (cached_.size() > 1 && (cached_bytes_ > max_cached_bytes_ || cached_.size() > kMaxCached)) {
    cached_bytes_ -= cached_.front()->bytes;
    cached_.pop_front();
  }
  return absl::OkStatus();
}

std::shared_ptr<const Record> UpdateLog::Find(uint64_t version) const {
  {
    MutexLock lock(&mu_);
    const bool cached = !cached_.empty() && version >= cached_.front()->version;
    if (cached && version > cached_.back()->version) return nullptr;
    if (cached) return cached_[version - cached_.front()->version];  // no gaps: Append sees to it
  }
  if (store_ == nullptr) return nullptr;
  absl::StatusOr<std::shared_ptr<const Record>> record = store_->Read(version);
  return record.ok() ? *std::move(record) : nullptr;
}

UpdateLog::Range UpdateLog::range() const {
  LogStore::Range range;
  if (store_ != nullptr) range = store_->range();
  MutexLock lock(&mu_);
  if (store_ == nullptr) {
    range.empty = cached_.empty();
    range.oldest = cached_.empty() ? next_ : cached_.front()->version;
  }
  // The store has a record a moment before Find gives it.
  const uint64_t newest = cached_.empty() ? range.newest : cached_.back()->version;
  return {.empty = range.empty,
          .oldest = range.oldest,
          .newest = newest,
          .cached_bytes = cached_bytes_};
}

absl::Status UpdateLog::TrimBelow(uint64_t version) {
  if (store_ != nullptr) GRADWIRE_RETURN_IF_ERROR(store_->TrimBelow(version));
  MutexLock lock(&mu_);
  while (cached_.size() > 1 && cached_.front()->version < version) {
    cached_bytes_ -= cached_.front()->bytes;
    cached_.pop_front();
  }
  return absl::OkStatus();
}

}  // namespace gradwire
