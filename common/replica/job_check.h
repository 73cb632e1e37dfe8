// SPDX-License-Identifier: Apache-2.0
// What job.proto says of a job's fields: their defaults and their limits.
#pragma once

#include "absl/status/status.h"
#include "gradwire/v1/job.pb.h"

namespace gradwire {

// Puts in the default wherever a field is zero or empty.
void FillJobDefaults(v1::JobConfig* config);

// Of a config with its defaults, all but what its texts and its model mean: MakeJob
// checks those by making the parts.  InvalidArgument names the field, the value and the limits.
absl::Status CheckJob(const v1::JobConfig& config);

}  // namespace gradwire
