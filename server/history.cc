// SPDX-License-Identifier: Apache-2.0
// Implementation of history.h.
#include "server/history.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/replica/snapshot.h"
#include "server/recovery.h"
#include "server/state_directory.h"

namespace gradwire {
namespace {

std::string CutText(const LogCut& cut) {
  return absl::StrCat("the log was damaged at its end: version ", cut.version,
                      cut.possibly_acknowledged ? " (possibly_acknowledged=true)" : "",
                      " is cut off ", cut.file, " at offset ", cut.offset, ": ", cut.reason);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogStore>> History::OpenStore(const Job& job,
                                                             const HistoryOptions& options) {
  if (job.keeps_no_log()) return nullptr;
  GRADWIRE_ASSIGN_OR_RETURN(std::unique_ptr<LogStore> store,
                            LogStore::Open({.files = options.files,
                                            .folder = options.state_dir + "/log",
                                            .schema_hash = job.schema_hash,
                                            .fsync = options.fsync,
                                            .sync_times = options.sync_times}));
  if (store->cut().has_value()) LogError(CutText(*store->cut()));
  return store;
}

absl::StatusOr<std::unique_ptr<History>> History::Open(const std::shared_ptr<const Job>& job,
                                                       HistoryOptions options) {
  const absl::Duration begin = SteadyClock().Now();
  FileSystem* const files = options.files;
  GRADWIRE_ASSIGN_OR_RETURN(ClaimedDirectory claimed,
                            ClaimStateDirectory(files, options.state_dir, *job));
  GRADWIRE_ASSIGN_OR_RETURN(std::unique_ptr<LogStore> store, OpenStore(*job, options));
  std::unique_ptr<History> history(new History(job, std::move(options), std::move(store)));
  history->lock_ = std::move(claimed.lock);
  history->job_file_changes_ = std::move(claimed.changes);
  GRADWIRE_ASSIGN_OR_RETURN(history->finished_at_,
                            ReadFinished(files, history->options_.state_dir));
  GRADWIRE_ASSIGN_OR_RETURN(history->snapshots_,
                            Snapshots::Open({.files = files,
                                             .state_dir = history->options_.state_dir,
                                             .kept = history->options_.snapshots_kept},
                                            job));
  GRADWIRE_ASSIGN_OR_RETURN(Recovered recovered,
                            Recover(job, history->store_.get(), history->snapshots_.get()));
  history->replica_ = std::move(recovered.replica);
  history->state_ = std::move(recovered.state);
  history->bytes_since_snapshot_ = recovered.bytes;
  if (history->replica_->started()) {
    if (history->store_ == nullptr) history->log_.BeginAt(history->replica_->version() + 1);
    history->NoteHash();
    LogInfo(absl::StrCat(
        "recovered version ", history->replica_->version(), " from ",
        recovered.from > 0 ? absl::StrCat("the snapshot of version ", recovered.from) : "the seed",
        " and ", recovered.records, " records in ",
        absl::FormatDuration(absl::Trunc(SteadyClock().Now() - begin, absl::Milliseconds(1)))));
  }
  return history;
}

// A disk that takes longer over a snapshot than the training over two of them is waited for.
absl::Status History::CheckDiskKeepsUp() const {
  if (store_ == nullptr) return absl::OkStatus();  // there is no log to bound
  const size_t limit = 2 * options_.snapshot_bytes;
  if (bytes_since_snapshot_ <= limit || !snapshots_->publishing()) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      options_.state_dir, ": a snapshot is still being written, and ", bytes_since_snapshot_,
      " bytes of log have come since it was taken, the limit is ", limit,
      " (twice --snapshot_after): the disk is too slow"));
}

bool History::MaySnapshot(uint64_t version, size_t bytes) {
  const bool long_log =
      store_ != nullptr && bytes_since_snapshot_ + bytes > options_.snapshot_bytes;
  const bool due = version > 0 && (version % state_->config().snapshot_every() == 0 || long_log);
  if (!due && !snapshot_owed_) return false;
  if (!snapshots_->publishing()) return true;
  if (!snapshot_owed_) {
    LogWarning(absl::StrCat("the snapshot of version ", version,
                            " has to wait: the one before is still being written"));
  }
  snapshot_owed_ = true;
  return false;
}

std::unique_ptr<SnapshotWriter> History::BeginSnapshot(const Record& record,
                                                       const v1::Header& header) {
  snapshot_owed_ = false;
  bytes_since_snapshot_ = 0;
  return snapshots_->Begin({.version = record.version,
                            .chain_hash = record.chain_hash,
                            .applied = replica_->applied() + (header.used().empty() ? 0 : 1),
                            .reset_id = header.reset_id(),
                            .header = header});
}

absl::Status History::Commit(const std::shared_ptr<const Record>& record, const v1::Header& header,
                             const std::function<void()>& appended) {
  GRADWIRE_RETURN_IF_ERROR(CheckDiskKeepsUp());
  const Stopwatch append_watch;
  const size_t bytes = record->bytes + record->server_part.size();
  const bool snapshot = MaySnapshot(record->version, bytes);
  if (snapshot && store_ != nullptr)
    store_->Roll();  // its record begins a segment: none before it is kept for it
  GRADWIRE_RETURN_IF_ERROR(log_.Append(record));
  commit_times_.log = append_watch.elapsed();
  if (appended) appended();
  const Stopwatch apply_watch;
  bytes_since_snapshot_ += bytes;
  std::unique_ptr<SnapshotWriter> writer;
  if (snapshot) writer = BeginSnapshot(*record, header);
  state_->Applying(*replica_);
  Replica::BlockDone write_block;
  if (writer != nullptr) {
    write_block = [&](size_t block) { writer->WriteBlock(*replica_, block); };
  }
  GRADWIRE_RETURN_IF_ERROR(replica_->Apply(*record, write_block));
  state_->Applied(*replica_);
  NoteHash();
  commit_times_.apply = apply_watch.elapsed();
  if (writer == nullptr) return absl::OkStatus();
  snapshots_->Finish(std::move(writer), *replica_, state_->EncodePieces(*replica_)->pieces());
  return absl::OkStatus();
}

void History::NoteHash() {
  if (replica_->version() % job_->config.hash_every() != 0) return;
  has_hash_ = true;
  hash_ = replica_->Hash();
  hashed_ = replica_->version();
}

uint64_t History::ParametersHash() {
  const uint64_t version = replica_->version();
  if (!parameters_hash_.has_value() || parameters_hash_->first != version) {
    parameters_hash_ = {version, replica_->ParametersHash()};
  }
  return parameters_hash_->second;
}

absl::Status History::SaveSnapshot() {
  return snapshots_->Save(*replica_, state_->EncodePieces(*replica_)->pieces());
}

absl::Status History::NoteFinished() {
  GRADWIRE_RETURN_IF_ERROR(WriteFinished(options_.files, options_.state_dir, replica_->version()));
  finished_at_ = replica_->version();
  return absl::OkStatus();
}

// A log that was damaged at its end may begin before it.
bool History::finished() const { return finished_at_ > 0 && finished_at_ == replica_->version(); }

absl::Status History::NoteJobFile() {
  GRADWIRE_RETURN_IF_ERROR(WriteJobFile(options_.files, options_.state_dir, job_->config));
  job_file_changes_.Clear();
  return absl::OkStatus();
}

void History::SnapshotForJoiner() {
  if (store_ != nullptr || !replica_->started()) return;
  const std::optional<Snapshots::File> newest = snapshots_->Newest(UINT64_MAX);
  const uint64_t next = newest.has_value() ? newest->version + 1 : 0;
  if (log_.range().oldest <= next) return;
  const absl::Status status = SaveSnapshot();
  if (!status.ok()) LogWarning(absl::StrCat("no snapshot for a worker: ", status.message()));
}

void History::SyncLog(absl::Duration now) {
  if (store_ == nullptr) return;
  if (const absl::Status status = store_->SyncDue(now); !status.ok()) LogError(status.message());
}

void History::Trim(uint64_t oldest_saved) {
  const std::optional<Snapshots::File> newest = snapshots_->Newest(UINT64_MAX);
  if (!newest.has_value() || newest->version == retained_for_) return;
  retained_for_ = newest->version;
  // What only workers' states need is kept as long as it is not too much.
  const std::optional<Snapshots::File> needed = snapshots_->Newest(oldest_saved);
  const bool too_much = store_ != nullptr && store_->bytes() > options_.log_retain;
  snapshots_->Retain(too_much ? newest->version : oldest_saved);
  const std::vector<uint64_t> kept = snapshots_->versions();
  uint64_t keep_from = kept.front();
  const bool reaches_seed = !too_much && log_.range().oldest == 0;
  if (!needed.has_value() && reaches_seed) keep_from = 0;
  // The record of the oldest snapshot stays: who starts from it names it.
  if (const absl::Status status = log_.TrimBelow(keep_from); !status.ok()) {
    LogWarning(status.message());
  }
}

}  // namespace gradwire
