// SPDX-License-Identifier: Apache-2.0
// Exit codes tell apart what another try may mend and what it will not.
#include "common/base/exit_code.h"

#include <gtest/gtest.h>

namespace gradwire {
namespace {

TEST(ExitCodeTest, TellsWhetherAnotherTryMayWork) {
  struct Case {
    absl::StatusCode code;
    int want;
  };
  for (const Case& c :
       {Case{absl::StatusCode::kOk, 0}, Case{absl::StatusCode::kUnavailable, 1},  // no server
        Case{absl::StatusCode::kDeadlineExceeded, 1},    // it does not answer
        Case{absl::StatusCode::kResourceExhausted, 1},   // a full disk
        Case{absl::StatusCode::kUnknown, 1},             // a disk's error
        Case{absl::StatusCode::kAborted, 1},             // the job was stopped
        Case{absl::StatusCode::kAlreadyExists, 1},       // the old lease may end
        Case{absl::StatusCode::kInvalidArgument, 2},     // a flag, a job file
        Case{absl::StatusCode::kFailedPrecondition, 2},  // another schema
        Case{absl::StatusCode::kNotFound, 2},            // no such data
        Case{absl::StatusCode::kPermissionDenied, 2}, Case{absl::StatusCode::kUnauthenticated, 2},
        Case{absl::StatusCode::kDataLoss, 2},       // replicas that differ
        Case{absl::StatusCode::kOutOfRange, 2}}) {  // divergence
    EXPECT_EQ(ExitCodeOf(absl::Status(c.code, "")), c.want) << static_cast<int>(c.code);
  }
}

}  // namespace
}  // namespace gradwire
