// SPDX-License-Identifier: Apache-2.0
// Implementation of history.h.
#include "server/history.h"

#include "common/base/status_macros.h"

namespace gradwire {

absl::StatusOr<std::unique_ptr<History>> History::Create(std::shared_ptr<const Job> job,
                                                         const std::string& state_dir,
                                                         size_t max_log_bytes) {
  GRADWIRE_ASSIGN_OR_RETURN(std::unique_ptr<Snapshots> snapshots, Snapshots::Create(state_dir));
  return std::unique_ptr<History>(new History(std::move(job), std::move(snapshots), max_log_bytes));
}

absl::Status History::Commit(uint64_t version, MadeUpdate update) {
  const std::shared_ptr<const Record> record =
      MakeRecord(version, std::move(update.parts), update.payload_bytes);
  GRADWIRE_RETURN_IF_ERROR(log_.Append(record));
  GRADWIRE_RETURN_IF_ERROR(replica_.Apply(*record));
  has_hash_ = version % job_->config.hash_every() == 0;
  if (has_hash_) hash_ = replica_.Hash();
  bytes_since_snapshot_ += record->bytes;
  const bool due = version > 0 && version % job_->config.snapshot_every() == 0;
  if (due || bytes_since_snapshot_ > max_log_bytes_ / 2) return SaveSnapshot();
  return absl::OkStatus();
}

absl::Status History::SaveSnapshot() {
  GRADWIRE_RETURN_IF_ERROR(snapshots_->Save(replica_));
  bytes_since_snapshot_ = 0;
  // The snapshot's own record stays: a worker that starts from it names it.
  if (replica_.version() > 0) log_.Trim(replica_.version() - 1, max_log_bytes_);
  return absl::OkStatus();
}

}  // namespace gradwire
