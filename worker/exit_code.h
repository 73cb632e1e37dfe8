// SPDX-License-Identifier: Apache-2.0
// What a worker's exit code tells whoever may start it again.
#pragma once

#include "absl/status/status.h"

namespace gradwire {

inline constexpr int kExitDone = 0;
inline constexpr int kExitRetry = 1;  // may work on another try: the server or a disk was the cause
inline constexpr int kExitNever = 2;  // flags, configuration, data, schema or role: will not

// Of the error that ended a worker.  AlreadyExists is one that time mends: the lease of the
// worker that holds the id may end.
inline int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kDataLoss:
      return kExitNever;
    default:
      return kExitRetry;
  }
}

}  // namespace gradwire
