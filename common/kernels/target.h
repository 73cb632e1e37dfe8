// SPDX-License-Identifier: Apache-2.0
// Which instruction set the kernels use.  All give the same bits: the choice
// is for speed, and by name for tests.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gradwire {

// "scalar" (the reference), then what this processor has of "sse4", "avx2", "avx512", "neon".
std::vector<std::string> KernelTargets();

// "auto" is the best of KernelTargets().  InvalidArgument names what there is.
// Process-wide; call before any kernel runs on another thread.
absl::Status SetKernelTarget(absl::string_view name);

// The name in force.
std::string KernelTarget();

// For kernels: whether the scalar reference is in force.  Thread-safe.
bool UseScalarKernels();

}  // namespace gradwire
