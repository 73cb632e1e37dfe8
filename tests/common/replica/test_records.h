// SPDX-License-Identifier: Apache-2.0
// Jobs and records for tests: what a server would make of one worker's payloads.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/replica/job.h"
#include "common/replica/replica.h"
#include "common/replica/update_log.h"

namespace gradwire {

// From a job's text; fails the test when it is wrong.
std::shared_ptr<const Job> MakeTestJob(const std::string& text);

// By the schedules alone, without evaluations.
float LearningRateAt(const Job& job, uint64_t step);

// Dimension values, normally distributed: a function of `step`.
std::vector<float> TestGradient(const Job& job, uint64_t step);

// The parts of the record after the replica's point: the update that one worker's payload of
// `values` gives, `blocks_per_part` blocks in a part; none with empty `values`.
std::vector<v1::UpdatePart> NextParts(const Replica& replica, absl::Span<const float> values,
                                      size_t blocks_per_part = 1);

std::shared_ptr<const Record> Seal(uint64_t version, const std::vector<v1::UpdatePart>& parts);

// Record 0, and the record of NextParts.
std::shared_ptr<const Record> FirstRecord(const Job& job);
std::shared_ptr<const Record> NextRecord(const Replica& replica, absl::Span<const float> values);

// A replica after so many steps of TestGradient.
Replica TrainedReplica(std::shared_ptr<const Job> job, uint64_t steps);

}  // namespace gradwire
