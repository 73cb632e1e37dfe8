// SPDX-License-Identifier: Apache-2.0
// A log on the disk for commands that only read: nothing is locked, cut or removed, so that they
// may run beside the server that writes it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/replica/log_recovery.h"
#include "common/replica/log_segment.h"

namespace gradwire {

// Reads as recovery does (common/replica/log_recovery.h): what a segment has overrides what the one
// before it has.  Not thread-safe.
class LogReader {
 public:
  struct Segment {
    std::string path;
    uint64_t first_version = 0;
    uint64_t bytes = 0;  // when it was listed: what is appended later is not read
  };

  // Lists the segments in `folder`; none where there is no such folder.  `files` outlives the
  // reader.  Errors as Read's.
  static absl::StatusOr<LogReader> Open(FileSystem* files, const std::string& folder,
                                        uint64_t schema_hash);

  // Each with a whole record, but for damage.
  const std::vector<Segment>& segments() const { return segments_; }
  // What Open or Read has found behind the last whole record, in words; empty: nothing.
  const std::string& unfinished() const { return unfinished_; }

  using Visit = std::function<absl::Status(const RecordView& record)>;
  // Verifies and visits the records up to version `to`, in order, from the beginning of a segment:
  // the last one that begins below `from`, or the first.  DataLoss: damaged, with file, offset,
  // version and remedy.  FailedPrecondition: of another job or build.  Aborted: the server has
  // removed or cut a file meanwhile.
  absl::Status Read(uint64_t from, uint64_t to, const Visit& visit);

 private:
  // Where the reading stands.
  struct Cursor {
    bool begun = false;
    uint64_t next = 0;  // version
    ChainHash chain_hash = {};
  };

  LogReader(FileSystem* files, uint64_t schema_hash) : files_(files), schema_hash_(schema_hash) {}
  absl::Status List(const std::string& folder);
  absl::Status LeaveOutUnfinished();
  size_t SegmentBelow(uint64_t version) const;
  absl::Status ReadSegment(size_t index, uint64_t to, const Visit& visit, Cursor* cursor);
  absl::Status Begin(const Segment& segment, const SegmentHeader& header, Cursor* cursor) const;
  absl::Status CheckHeader(const Segment& segment, const SegmentHeader& header) const {
    return CheckSegmentHeader(segment.path, segment.first_version, header, schema_hash_);
  }
  // Of the newest segment: Ok, with unfinished_ set, or DataLoss.
  absl::Status CheckTail(const Segment& segment, SegmentScanner* scanner,
                         const SegmentScanner::Found& found, uint64_t version);

  FileSystem* const files_;
  const uint64_t schema_hash_;
  std::vector<Segment> segments_;
  std::string unfinished_;
};

}  // namespace gradwire
