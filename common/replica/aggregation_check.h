// SPDX-License-Identifier: Apache-2.0
// Whether a job's aggregator and max_norm_factor go with its other choices.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace gradwire {

struct Job;

// InvalidArgument names what does not go with what, and what does.
absl::Status CheckAggregation(const Job& job);

// Of an aggregator that withstands nobody.
void AddAggregationWarnings(const Job& job, std::vector<std::string>* warnings);

}  // namespace gradwire
