// SPDX-License-Identifier: Apache-2.0
// The log of updates, as it is served: what the model is made of.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/base/hash.h"
#include "common/base/mutex.h"

namespace gradwire {

// One version's record, immutable once made: by MakeRecord, or read from a log that has checked it.
struct Record {
  uint64_t version = 0;
  std::vector<std::string>
      parts;  // serialised UpdateParts, exactly as published; the last has the header
  ChainHash chain_hash = {};     // of this record: see ChainHashOf
  std::string server_part = {};  // never published: what replay needs to make the update again
  size_t bytes = 0;              // of all parts
  size_t payload_bytes = 0;      // of the blocks in them; 0 where nobody counts
};

// The chain hash of a record: xxh3-128 over its parts, one after another.  The header in
// the last part holds the previous record's, so it stands for all history before it.
ChainHash ChainHashOf(const std::vector<std::string>& parts);

// Makes a record of parts that somebody has serialised, with so many bytes of payload.
std::shared_ptr<const Record> MakeRecord(uint64_t version, std::vector<std::string> parts,
                                         size_t payload_bytes = 0, std::string server_part = {});

class LogStore;

// The records of a LogStore, the newest also in memory, for whoever serves them; or, without a
// store, these alone.  Thread-safe, but
// for Append and TrimBelow, which want one caller.
class UpdateLog {
 public:
  static constexpr size_t kMaxCached = 1000;  // records

  // Keeps the newest records in memory, up to kMaxCached that have `max_cached_bytes` together.
  // `store` must outlive it; null: nothing is on disk.
  UpdateLog(LogStore* store, size_t max_cached_bytes)
      : store_(store), max_cached_bytes_(max_cached_bytes) {}

  // Without a store: the next record is that of `version`.
  void BeginAt(uint64_t version) ABSL_LOCKS_EXCLUDED(mu_);

  // On disk as the store's policy says when it returns.  Errors are the store's; the log is
  // unchanged then, and the same record may be appended again.
  absl::Status Append(std::shared_ptr<const Record> record) ABSL_LOCKS_EXCLUDED(mu_);

  // Null when the version is not (or no longer) here, or cannot be read.
  std::shared_ptr<const Record> Find(uint64_t version) const ABSL_LOCKS_EXCLUDED(mu_);

  struct Range {
    bool empty = true;
    uint64_t oldest = 0;  // of an empty log: the first that it will have
    uint64_t newest = 0;
    size_t cached_bytes = 0;  // of records in memory
  };
  // All from `oldest` to `newest` can be found from now on, until TrimBelow gives some up.
  Range range() const ABSL_LOCKS_EXCLUDED(mu_);

  // Gives up what is below `version`, but for the newest, as far as the store's files allow.
  absl::Status TrimBelow(uint64_t version) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  LogStore* const store_;
  const size_t max_cached_bytes_;
  mutable Mutex mu_;
  std::deque<std::shared_ptr<const Record>> cached_ ABSL_GUARDED_BY(mu_);  // consecutive versions
  size_t cached_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t next_ ABSL_GUARDED_BY(mu_) = 0;  // without a store: the next record's version
};

}  // namespace gradwire
