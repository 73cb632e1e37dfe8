// SPDX-License-Identifier: Apache-2.0
// How much memory a server needs for a job.
#pragma once

#include <cstddef>

#include "common/replica/job.h"
#include "common/replica/memory_need.h"

namespace gradwire {

struct ServerMemoryOptions {
  size_t in_flight = 0;      // limit of the payloads that wait for a lower rank's
  size_t stream_window = 0;  // a worker may send so much ahead
  size_t cached_log = 0;     // of the log, in memory, at most
  size_t threads = 1;        // ParallelThreads()
};

// An estimate from above for members as many as membership.workers says.
MemoryNeed ServerMemoryNeed(const Job& job, const ServerMemoryOptions& options);

}  // namespace gradwire
