// SPDX-License-Identifier: Apache-2.0
// The learning rate of a job: the base rate, its schedules, and what they
// remember of evaluations.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "common/optimizer/schedule.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

// Not thread-safe.
class LearningRate {
 public:
  // `schedules` must outlive this.
  LearningRate(float base, absl::Span<const std::unique_ptr<Schedule>> schedules);

  // base * product of the factors, computed in double in their order, rounded to float once.
  float At(uint64_t step) const;

  void SetBase(float base) { base_ = base; }

  // Takes note of an evaluation; to be called once for each, in order.
  void Observe(const v1::Evaluation& evaluation);

  // Other schedules from now on, which remember nothing yet; they must outlive this.
  void Replace(absl::Span<const std::unique_ptr<Schedule>> schedules);

  // What the schedules remember, all after one another; and back.  False: not so many numbers.
  std::vector<double> state() const;
  bool Restore(absl::Span<const double> state);

  // Whether some schedule follows the evaluations.
  bool observes() const;

 private:
  float base_;
  absl::Span<const std::unique_ptr<Schedule>> schedules_;
  std::vector<std::vector<double>> states_;  // one for each schedule
};

}  // namespace gradwire
