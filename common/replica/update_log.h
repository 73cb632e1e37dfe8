// SPDX-License-Identifier: Apache-2.0
// The log of updates, in memory: what the model is made of.
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

// One version's record, immutable once made.
struct Record {
  uint64_t version = 0;
  std::vector<std::string>
      parts;  // serialised UpdateParts, exactly as published; the last has the header
  ChainHash chain_hash = {};  // of this record: see ChainHashOf
  size_t bytes = 0;           // of all parts
  size_t payload_bytes = 0;   // of the blocks in them; 0 where nobody counts
};

// The chain hash of a record: xxh3-128 over its parts, one after another.  The header in
// the last part holds the previous record's, so it stands for all history before it.
ChainHash ChainHashOf(const std::vector<std::string>& parts);

// Makes a record of parts that somebody has serialised, with so many bytes of payload.
std::shared_ptr<const Record> MakeRecord(uint64_t version, std::vector<std::string> parts,
                                         size_t payload_bytes = 0);

// Thread-safe.
class UpdateLog {
 public:
  // FailedPrecondition unless record->version is the next one (0 for an empty log).
  absl::Status Append(std::shared_ptr<const Record> record) ABSL_LOCKS_EXCLUDED(mu_);

  // Null when the version is not (or no longer) here.
  std::shared_ptr<const Record> Find(uint64_t version) const ABSL_LOCKS_EXCLUDED(mu_);

  struct Range {
    bool empty = true;
    uint64_t oldest = 0;
    uint64_t newest = 0;
    size_t bytes = 0;
  };
  Range range() const ABSL_LOCKS_EXCLUDED(mu_);

  // Drops the oldest records while the log holds more than max_bytes and they
  // are at or below `snapshot_version`: what a snapshot makes unnecessary.  The newest
  // record always stays: the next one follows it.
  void Trim(uint64_t snapshot_version, size_t max_bytes) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  mutable Mutex mu_;
  std::deque<std::shared_ptr<const Record>> records_ ABSL_GUARDED_BY(mu_);
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace gradwire
