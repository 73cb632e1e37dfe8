// SPDX-License-Identifier: Apache-2.0
// What a server says of a job when it ends, as JSON.
#pragma once

#include <string>

#include "common/replica/job.h"
#include "server/coordinator.h"
#include "server/counters.h"

namespace gradwire {

// Bytes are means per worker and step.
std::string SummaryJson(const Job& job, const Coordinator::Result& result,
                        const ServerCounters& counters);

}  // namespace gradwire
