// SPDX-License-Identifier: Apache-2.0
// What a program's exit code tells whoever may start it again.
#pragma once

#include "absl/status/status.h"

namespace gradwire {

inline constexpr int kExitDone = 0;
inline constexpr int kExitRetry =
    1;  // may work on another try: the network or a disk was the cause
inline constexpr int kExitNever = 2;  // flags, configuration, data, schema or role: will not

// Of the error that ended a program.  AlreadyExists is one that time mends: the lease of the
// worker that holds the id may end.  OutOfRange: the training has diverged.
int ExitCodeOf(const absl::Status& status);

// To be called around absl::ParseCommandLine, which ends a program whose flags it cannot read
// with 1: from true to false it is kExitNever.
void ReadingFlags(bool reads);

}  // namespace gradwire
