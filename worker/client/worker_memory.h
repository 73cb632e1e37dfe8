// SPDX-License-Identifier: Apache-2.0
// How much memory a worker needs for a job.
#pragma once

#include "common/replica/job.h"
#include "common/replica/memory_need.h"

namespace gradwire {

// An estimate from above, without the data set.
MemoryNeed WorkerMemoryNeed(const Job& job);

}  // namespace gradwire
