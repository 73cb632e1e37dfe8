// SPDX-License-Identifier: Apache-2.0
// A loop whose rounds are independent of each other, spread over the process's cores.
#pragma once

#include <cstddef>

#include "absl/functional/function_ref.h"

namespace gradwire {

// How many threads a loop may use, the caller's among them: 1 until it is set, at most
// kMaxParallelThreads.  For a program's main, before the first loop.
inline constexpr size_t kMaxParallelThreads = 64;
void SetParallelThreads(size_t threads);
size_t ParallelThreads();

// Calls work(i, thread) once for each i below `count`, in no order, and returns when all are done.
// No two calls at one time have the same `thread`, which is below ParallelThreads(): it tells
// scratch memory apart.  Helpers run in the float environment of
// float_environment.h.  Thread-safe: while another thread's loop has the helpers, this one runs on
// its caller alone.  `work` must not call ParallelFor.
void ParallelFor(size_t count, absl::FunctionRef<void(size_t i, size_t thread)> work);

}  // namespace gradwire
