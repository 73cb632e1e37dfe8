// SPDX-License-Identifier: Apache-2.0
// A state directory belongs to one job and is used by one server at a time.
//
//   STATE_DIR/lock            held by the server; names it
//   STATE_DIR/job.textproto   the job, as its server first ran it
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/replica/job.h"

namespace gradwire {

// Makes the folder where it is missing, locks it, and checks that it is of this job.
// Unavailable: another server holds it; names the holder.  FailedPrecondition: it is another
// job's; names the field that differs, with both values.  The lock lasts until it is destroyed.
absl::StatusOr<std::unique_ptr<FileLock>> ClaimStateDirectory(FileSystem* files,
                                                              const std::string& state_dir,
                                                              const Job& job);

}  // namespace gradwire
