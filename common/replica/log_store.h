// SPDX-License-Identifier: Apache-2.0
// The log of updates on disk: what makes them last.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/file_system.h"
#include "common/base/hash.h"
#include "common/base/mutex.h"
#include "common/base/time_histogram.h"
#include "common/replica/log_recovery.h"
#include "common/replica/log_segment.h"
#include "common/replica/update_log.h"

namespace gradwire {

// When records are synced, beside at the end of a segment.
struct FsyncPolicy {
  enum class Kind {
    kAlways,    // before Append returns
    kInterval,  // by SyncDue, so long after the last time
    kNever,     // a power cut may lose all of the newest segment
  };
  Kind kind = Kind::kAlways;
  absl::Duration interval = absl::ZeroDuration();  // of kInterval
};

// "always", "interval:DURATION" (1ms to 1h, as "interval:100ms") or "never".
absl::StatusOr<FsyncPolicy> ParseFsyncPolicy(absl::string_view text);

struct LogStoreOptions {
  FileSystem* files = PosixFileSystem();
  std::string folder;        // of segments only; locked by the caller
  uint64_t schema_hash = 0;  // of the job
  FsyncPolicy fsync = {};
  uint64_t segment_bytes = uint64_t{64} << 20;  // a segment grows no longer, but for one record
  TimeHistogram* sync_times = nullptr;          // if any: must outlive the store
};

// Records FOLDER/VERSION.log, segments of log_segment.h by their first version.  A segment that
// begins with version v stands for v and all after it, whatever the one before it has of them.
//
// Thread-safe; Read and range wait for no disk write.
class LogStore {
 public:
  // Verifies and indexes all that is there: see RecoverLog for what is cut and what refused.
  static absl::StatusOr<std::unique_ptr<LogStore>> Open(LogStoreOptions options);

  // What Open had to cut, for the caller to tell.
  const std::optional<LogCut>& cut() const { return cut_; }

  // Once Ok is returned, a killed process has not lost the record, and under kAlways a power cut
  // has not.  FailedPrecondition unless it follows the newest record.  ResourceExhausted: no
  // space; nothing has changed, and the same record may be tried again.  After any other error
  // the disk is not to be trusted: stop.
  absl::Status Append(const Record& record) ABSL_LOCKS_EXCLUDED(writing_mu_, mu_);

  // Makes everything appended last.  Errors as of Append; what was not synced is tried again with
  // the next Sync or Append.
  absl::Status Sync() ABSL_LOCKS_EXCLUDED(writing_mu_, mu_);
  // The same under kInterval, if the interval has passed since it last did (`now` as of a Clock);
  // else nothing.
  absl::Status SyncDue(absl::Duration now) ABSL_LOCKS_EXCLUDED(writing_mu_, mu_);

  // The next record begins a segment, so that TrimBelow can drop those before it.
  void Roll() ABSL_LOCKS_EXCLUDED(writing_mu_, mu_);

  // Removes the segments, but for the newest, whose records are all below `version`.
  absl::Status TrimBelow(uint64_t version) ABSL_LOCKS_EXCLUDED(writing_mu_, mu_);

  // The next record is to be version + 1, following `chain_hash`: for a log that ends before the
  // snapshot of `version`.  What is in the log is dropped; FailedPrecondition when it reaches
  // `version`.
  absl::Status BeginAt(uint64_t version, const ChainHash& chain_hash)
      ABSL_LOCKS_EXCLUDED(writing_mu_, mu_);

  // Verified again.  NotFound when the version is not (or no longer) here; DataLoss, naming file
  // and offset, when it is damaged.
  absl::StatusOr<std::shared_ptr<const Record>> Read(uint64_t version) const
      ABSL_LOCKS_EXCLUDED(mu_);

  struct Range {
    bool empty = true;
    uint64_t oldest = 0;  // of an empty log: the first that it will have
    uint64_t newest = 0;
    ChainHash newest_chain_hash = {};
  };
  Range range() const ABSL_LOCKS_EXCLUDED(mu_);
  // What the next record has to be.
  uint64_t next_version() const ABSL_LOCKS_EXCLUDED(mu_);
  // Of all segments, on disk.
  uint64_t bytes() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // A segment on disk that the index does not know yet.
  struct Written {
    std::unique_ptr<WritableFile> file;
    std::vector<LogPlace> places;
    uint64_t bytes = 0;
  };

  LogStore(LogStoreOptions options, RecoveredLog recovered);

  absl::Status AppendToSegment(const Record& record, const RecordPieces& pieces)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writing_mu_);
  // With what a failed sync has lost, then `record` (both null: without one).
  absl::Status StartSegment(const Record* record, const RecordPieces* pieces)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writing_mu_);
  absl::StatusOr<Written> WriteSegment(const SegmentHeader& header, uint64_t next,
                                       const RecordPieces* pieces) const;
  absl::Status WriteRecords(const SegmentHeader& header, uint64_t next, const RecordPieces* pieces,
                            Written* written) const;
  absl::Status SyncFile(WritableFile* file) const;
  absl::Status SyncOrMove() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writing_mu_);
  // Afterwards there is nothing unsynced, or it is lost.
  void SyncTail() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writing_mu_);

  absl::StatusOr<LogPlace> Find(uint64_t version) const ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<std::string> ReadBytes(const LogPlace& place, uint64_t version) const;
  ChainHash newest_chain_hash() const ABSL_LOCKS_EXCLUDED(mu_);

  const LogStoreOptions options_;
  const std::optional<LogCut> cut_;

  // Held while files are written: always before mu_.
  Mutex writing_mu_ ABSL_ACQUIRED_BEFORE(mu_);
  std::unique_ptr<WritableFile> file_ ABSL_GUARDED_BY(writing_mu_);  // the newest segment's
  bool roll_ ABSL_GUARDED_BY(writing_mu_) = false;  // the next record begins a segment
  // The oldest record that no sync has covered, and the chain hash before it.
  std::optional<uint64_t> unsynced_ ABSL_GUARDED_BY(writing_mu_);
  ChainHash unsynced_previous_ ABSL_GUARDED_BY(writing_mu_) = {};
  // A sync has failed, or the file cannot be cut back: it is done with, and what is unsynced goes
  // into the next segment again.
  bool tail_lost_ ABSL_GUARDED_BY(writing_mu_) = false;
  absl::Duration last_sync_ ABSL_GUARDED_BY(writing_mu_) = absl::ZeroDuration();

  mutable Mutex mu_;
  RecoveredLog log_ ABSL_GUARDED_BY(mu_);  // segments, places, newest chain hash
};

}  // namespace gradwire
