// SPDX-License-Identifier: Apache-2.0
// Implementation of learning_rate.h.
#include "common/optimizer/learning_rate.h"

#include <algorithm>

namespace gradwire {

LearningRate::LearningRate(float base, absl::Span<const std::unique_ptr<Schedule>> schedules)
    : base_(base) {
  Replace(schedules);
}

void LearningRate::Replace(absl::Span<const std::unique_ptr<Schedule>> schedules) {
  schedules_ = schedules;
  states_.clear();
  for (const std::unique_ptr<Schedule>& schedule : schedules) {
    states_.emplace_back(schedule->state_size(), 0.0);
  }
}

float LearningRate::At(uint64_t step) const {
  double rate = base_;
  for (size_t i = 0; i < schedules_.size(); ++i) rate *= schedules_[i]->Factor(step, states_[i]);
  return static_cast<float>(rate);
}

void LearningRate::Observe(const v1::Evaluation& evaluation) {
  for (size_t i = 0; i < schedules_.size(); ++i) {
    schedules_[i]->Observe(evaluation, absl::MakeSpan(states_[i]));
  }
}

std::vector<double> LearningRate::state() const {
  std::vector<double> all;
  for (const std::vector<double>& state : states_)
    all.insert(all.end(), state.begin(), state.end());
  return all;
}

bool LearningRate::Restore(absl::Span<const double> state) {
  if (state.size() != this->state().size()) return false;
  for (std::vector<double>& one : states_) {
    std::copy_n(state.begin(), one.size(), one.begin());
    state.remove_prefix(one.size());
  }
  return true;
}

bool LearningRate::observes() const {
  for (const std::vector<double>& state : states_) {
    if (!state.empty()) return true;
  }
  return false;
}

}  // namespace gradwire
