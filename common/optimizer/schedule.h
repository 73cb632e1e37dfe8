// SPDX-License-Identifier: Apache-2.0
// How the learning rate changes over the steps: a product of factors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace gradwire {

// One factor.  Holds no state.  Only + - * / on doubles, so that all machines agree.
class Schedule {
 public:
  virtual ~Schedule() = default;
  // For a step, counted from 1.
  virtual double Factor(uint64_t step) const = 0;
};

// From "constant" | "step_decay:at=1000+1500,factor=0.1" | "linear_warmup:steps=100".
//   step_decay: factor^(number of at-steps < step): the rate is changed after step `at`
//   linear_warmup: min(1, step / steps)
absl::StatusOr<std::unique_ptr<Schedule>> MakeSchedule(absl::string_view spec);

// base * product of the factors, computed in double, rounded to float once.
float LearningRate(float base, absl::Span<const std::unique_ptr<Schedule>> factors, uint64_t step);

}  // namespace gradwire
