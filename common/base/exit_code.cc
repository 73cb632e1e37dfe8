// SPDX-License-Identifier: Apache-2.0
// Implementation of exit_code.h.
#include "common/base/exit_code.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace gradwire {
namespace {

bool reading_flags = false;

void EndWhileReadingFlags() {
  if (!reading_flags) return;
  std::fflush(nullptr);
  _exit(kExitNever);
}

}  // namespace

int ExitCodeOf(const absl::Status& status) {
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
    case absl::StatusCode::kOutOfRange:
      return kExitNever;
    default:
      return kExitRetry;
  }
}

void ReadingFlags(bool reads) {
  static const bool registered = std::atexit(EndWhileReadingFlags) == 0;
  reading_flags = reads && registered;
}

}  // namespace gradwire
