// SPDX-License-Identifier: Apache-2.0
// What a folder of log segments holds, verified in one pass over its bytes.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/base/hash.h"
#include "common/replica/log_segment.h"

namespace gradwire {

// Where a record lies.
struct LogPlace {
  std::shared_ptr<const std::string> path;
  uint64_t offset = 0;
  uint64_t size = 0;
};

struct LogSegmentFile {
  std::shared_ptr<const std::string> path;
  uint64_t first_version = 0;
  uint64_t bytes = 0;
};

// What recovery took off the log's end.
struct LogCut {
  uint64_t version = 0;  // the first that is gone
  // Nobody can tell a record that was never finished from one that was damaged later.
  bool possibly_acknowledged = true;
  std::string file;
  uint64_t offset = 0;
  std::string reason;
};

struct RecoveredLog {
  std::deque<LogSegmentFile> segments;  // each with a record that counts
  uint64_t oldest = 0;                  // version of places[0]
  std::deque<LogPlace> places;          // one a record, in order, without gaps
  ChainHash newest_chain_hash = {};
  std::unique_ptr<WritableFile> newest_file;  // of the last segment; null without segments
  std::optional<LogCut> cut;
};

// FOLDER/000000000812.log
std::string SegmentPath(const std::string& folder, uint64_t first_version);
// What a segment is called until it is whole; recovery removes such files.
std::string PartialSegmentPath(const std::string& segment_path);

// The version in such a name; false for other files.
bool ParseSegmentName(absl::string_view name, uint64_t* version);
// Whether a segment with this header, in this file, is of the job and of this build.
absl::Status CheckSegmentHeader(const std::string& path, uint64_t first_version,
                                const SegmentHeader& header, uint64_t schema_hash);

// Makes the folder if there is none; reads everything, cuts what is damaged at the end, and makes
// what it found last over a power cut.  Damage with a whole record after it is DataLoss, a
// missing record too, another job or apply revision FailedPrecondition: all name file, offset and
// remedy, and leave the files as they are.  Nobody else uses the folder.
absl::StatusOr<RecoveredLog> RecoverLog(FileSystem* files, const std::string& folder,
                                        uint64_t schema_hash);

}  // namespace gradwire
