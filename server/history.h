// SPDX-License-Identifier: Apache-2.0
// The server's replica and state, its log and its snapshots: where an update becomes part of the
// model, and where all of it comes back from after a crash.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/file_system.h"
#include "common/base/time_histogram.h"
#include "common/replica/job.h"
#include "common/replica/log_store.h"
#include "common/replica/replica.h"
#include "common/replica/update_log.h"
#include "server/server_state.h"
#include "server/snapshots.h"

namespace gradwire {

struct HistoryOptions {
  FileSystem* files = PosixFileSystem();  // must outlive the history
  std::string state_dir;
  FsyncPolicy fsync = {};
  size_t max_cached_bytes = size_t{64} << 20;  // of the log, in memory
  size_t snapshot_bytes = size_t{128} << 20;   // a snapshot at the latest after so much log
  size_t log_retain = size_t{1} << 30;         // of log, for workers' saved states, at most
  size_t snapshots_kept = 2;
  TimeHistogram* sync_times = nullptr;  // of the log's files, if any; must outlive the history
};

// Not thread-safe, but for log() and snapshots().
class History {
 public:
  // Claims the state directory and recovers what is in it.  FailedPrecondition, DataLoss and so on
  // name the file and the remedy.
  static absl::StatusOr<std::unique_ptr<History>> Open(const std::shared_ptr<const Job>& job,
                                                       HistoryOptions options);

  // Appends the record, whose header is `header` and which the state has made; applies it, and
  // writes a snapshot when one is due: at once, or, while the one before is still being written, at
  // the first version after that.  ResourceExhausted: the disk is full, or so slow with a snapshot
  // that the log would grow beyond twice snapshot_bytes since; nothing has changed, and the same
  // call may be made again.  `appended` is called when the log has the record, for who reads it.
  absl::Status Commit(const std::shared_ptr<const Record>& record, const v1::Header& header,
                      const std::function<void()>& appended = nullptr);

  // What the last successful Commit took: until the log had the record, and after that.
  struct CommitTimes {
    absl::Duration log;
    absl::Duration apply;
  };
  const CommitTimes& commit_times() const { return commit_times_; }
  uint64_t log_bytes() const { return store_ == nullptr ? 0 : store_->bytes(); }  // on disk

  // At the job's end, or before the server goes: a snapshot of the newest version.
  absl::Status SaveSnapshot();
  absl::Status SaveFinal() const { return snapshots_->SaveFinal(*replica_); }
  // Of a shard after the first, whose log does not have it: that the job has ended at the replica's
  // version; and whether that was noted.
  absl::Status NoteFinished();
  bool finished() const;

  // What the job file has changed since the state directory saw it last; and that it has seen it.
  const v1::Settings& job_file_changes() const { return job_file_changes_; }
  absl::Status NoteJobFile();

  // For the snapshot under way.
  void WaitForSnapshot() { snapshots_->Wait(); }

  // Where the log is not on disk, and no longer reaches back to a snapshot: makes one here, so that
  // whoever has no replica gets one that the log goes on from.  A failure is a warning.
  void SnapshotForJoiner();

  // A few times a second: syncs the log where its policy says so.
  void SyncLog(absl::Duration now);
  // The same: gives up what nobody needs.  `oldest_saved` is the oldest version of a worker's
  // saved state, or the newest version.
  void Trim(uint64_t oldest_saved);

  ServerState& state() { return *state_; }
  const ServerState& state() const { return *state_; }
  const UpdateLog& log() const { return log_; }
  const Replica& replica() const { return *replica_; }
  const Snapshots& snapshots() const { return *snapshots_; }

  // The replica's, computed once a version: at the job's end every worker asks for it.
  uint64_t ParametersHash();

  // The replica's hash at that version, if it was the last one at which replicas are compared.
  const uint64_t* comparable_hash(uint64_t version) const {
    return has_hash_ && hashed_ == version ? &hash_ : nullptr;
  }

 private:
  // The log's files, made ready and checked; null where the job keeps none.
  static absl::StatusOr<std::unique_ptr<LogStore>> OpenStore(const Job& job,
                                                             const HistoryOptions& options);
  History(std::shared_ptr<const Job> job, HistoryOptions options, std::unique_ptr<LogStore> store)
      : job_(std::move(job)),
        options_(std::move(options)),
        store_(std::move(store)),
        log_(store_.get(), options_.max_cached_bytes) {}
  // A snapshot is due with this record, and can be made now; else, when it is due, it is owed.
  bool MaySnapshot(uint64_t version, size_t bytes);
  std::unique_ptr<SnapshotWriter> BeginSnapshot(const Record& record, const v1::Header& header);
  absl::Status CheckDiskKeepsUp() const;
  void NoteHash();

  const std::shared_ptr<const Job> job_;
  const HistoryOptions options_;
  std::unique_ptr<FileLock> lock_;
  v1::Settings job_file_changes_;
  uint64_t finished_at_ = 0;               // noted; 0: not
  const std::unique_ptr<LogStore> store_;  // null: log snapshots_only
  UpdateLog log_;
  std::unique_ptr<Snapshots> snapshots_;
  std::unique_ptr<Replica> replica_;
  std::unique_ptr<ServerState> state_;
  bool has_hash_ = false;
  uint64_t hash_ = 0;
  uint64_t hashed_ = 0;                                           // its version
  std::optional<std::pair<uint64_t, uint64_t>> parameters_hash_;  // and its version before it
  CommitTimes commit_times_;
  size_t bytes_since_snapshot_ = 0;
  bool snapshot_owed_ = false;  // it was due while the one before was being written
  uint64_t retained_for_ = 0;   // the newest snapshot when old files were last given up
};

}  // namespace gradwire
