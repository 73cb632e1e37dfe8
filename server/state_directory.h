// SPDX-License-Identifier: Apache-2.0
// A state directory belongs to one job and is used by one server at a time.
//
//   STATE_DIR/lock            held by the server; names it
//   STATE_DIR/job.textproto   the job file, with its defaults, as it was seen last: a change of an
//                             operational field is noted here when it is on the log
//   STATE_DIR/shard           "1/2" and a line feed: of one shard of several
//   STATE_DIR/finished        of a shard after the first, whose log does not say it: the version at
//                             which the job has ended, and a line feed
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/replica/job.h"

namespace gradwire {

struct ClaimedDirectory {
  std::unique_ptr<FileLock> lock;  // until it is destroyed
  v1::Settings changes;            // of the job file since it was seen last
};

// What a folder says of the shard that it is of.  DataLoss: nothing that makes sense.
absl::StatusOr<Shard> ReadShard(FileSystem* files, const std::string& state_dir);

// The end, for a shard after the first.  Read: 0 when none was noted.
absl::Status WriteFinished(FileSystem* files, const std::string& state_dir, uint64_t version);
absl::StatusOr<uint64_t> ReadFinished(FileSystem* files, const std::string& state_dir);

// Makes the folder where it is missing, locks it, and checks that it is of this job.
// Unavailable: another server holds it; names the holder.  FailedPrecondition: it is another
// shard's, or another job's; names the field of the job's identity that differs, with both values.
absl::StatusOr<ClaimedDirectory> ClaimStateDirectory(FileSystem* files,
                                                     const std::string& state_dir, const Job& job);

// Notes the job file as seen, whole or not at all.
absl::Status WriteJobFile(FileSystem* files, const std::string& state_dir,
                          const v1::JobConfig& config);

}  // namespace gradwire
