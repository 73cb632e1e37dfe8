// SPDX-License-Identifier: Apache-2.0
// For tests: an optimizer driven for some steps as a replica would drive it, over ordinary
// and nasty gradients.  The numbers are those of torch_golden.py.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/optimizer/registry.h"

namespace gradwire {

constexpr size_t kTrainingSize = 8;
constexpr uint64_t kRateChange = 100;  // after so many steps the learning rate is a tenth
constexpr uint64_t kTrainingSteps = 200;
constexpr const char* kGradientKinds[] = {"random", "zeros", "huge", "alternating", "sparse"};

// Multiples of 1/512 in [-1.95, 1.95], exact in fp32, and gradients made of them.
class Gradients {
 public:
  float Next() {
    state_ = state_ * 1664525U + 1013904223U;
    return (static_cast<float>((state_ >> 9) % 2001) - 1000.0F) / 512.0F;
  }

  BlockValues Make(const std::string& kind, uint64_t step) {
    BlockValues gradient = {
        .dense = true, .indices = {}, .values = std::vector<float>(kTrainingSize)};
    for (float& value : gradient.values) value = Next();
    if (kind == "zeros" && step != 1) gradient.values.assign(kTrainingSize, 0.0F);
    if (kind == "huge" && step == 50) {
      for (float& value : gradient.values) value *= 0x1p40F;
    }
    if (kind == "alternating") {
      for (size_t i = 0; i < kTrainingSize; ++i) {
        gradient.values[i] = (step + i) % 2 != 0 ? 1.5F : -1.5F;
      }
    }
    if (kind == "sparse") {
      const auto index = static_cast<uint32_t>(step % kTrainingSize);
      return {.dense = false, .indices = {index}, .values = {gradient.values[index]}};
    }
    return gradient;
  }

 private:
  uint32_t state_ = 12345;
};

inline std::unique_ptr<Optimizer> Made(const std::string& spec) {
  auto made = MakeOptimizer(spec);
  EXPECT_TRUE(made.ok()) << made.status();
  return made.ok() ? *std::move(made) : nullptr;
}

// Parameters of one block, and an optimizer's state for them.
class Training {
 public:
  Training(const std::string& spec, std::vector<float> parameters)
      : optimizer_(Made(spec)), parameters_(std::move(parameters)) {
    for (const StateVector& vector : optimizer_->state_vectors()) {
      state_.emplace_back(parameters_.size(), vector.initial);
    }
    for (const StateScalar& scalar : optimizer_->state_scalars()) {
      scalars_.push_back(scalar.initial);
    }
  }

  void Step(float learning_rate, const BlockValues& update, Units units = Units::kGradient,
            const BlockKey& key = {}) {
    optimizer_->BeginStep(absl::MakeSpan(scalars_));
    std::vector<absl::Span<float>> state;
    for (std::vector<float>& values : state_) state.push_back(absl::MakeSpan(values));
    optimizer_->Apply({.learning_rate = learning_rate,
                       .applied = applied_++,
                       .units = units,
                       .key = key,
                       .scalars = scalars_},
                      update, absl::MakeSpan(parameters_), state);
  }

  const Optimizer& optimizer() const { return *optimizer_; }
  const std::vector<float>& parameters() const { return parameters_; }
  const std::vector<std::vector<float>>& state() const { return state_; }
  const std::vector<double>& scalars() const { return scalars_; }

 private:
  std::unique_ptr<Optimizer> optimizer_;
  std::vector<float> parameters_;
  std::vector<std::vector<float>> state_;
  std::vector<double> scalars_;
  uint64_t applied_ = 0;
};

// A run of torch_golden.py: one kind of gradients, the rate changed half-way.
class GoldenRun {
 public:
  GoldenRun(std::string kind, const std::string& spec)
      : kind_(std::move(kind)), first_(FirstParameters()), training_(spec, first_) {}

  // Takes the next step, in the optimizer's units, and returns its gradient.
  BlockValues Step() {
    const double base = training_.optimizer().learning_rate();
    learning_rate_ = static_cast<float>(step_ < kRateChange ? base : base / 10);
    const BlockValues gradient = gradients_.Make(kind_, ++step_);
    BlockValues update = gradient;
    const Units units = training_.optimizer().units();
    if (units == Units::kUpdate) {
      for (float& value : update.values) value *= learning_rate_;
    }
    training_.Step(learning_rate_, update, units);
    return gradient;
  }

  uint64_t step() const { return step_; }
  float learning_rate() const { return learning_rate_; }  // of the last step
  const std::vector<float>& first_parameters() const { return first_; }
  const std::vector<float>& parameters() const { return training_.parameters(); }

 private:
  std::vector<float> FirstParameters() {
    std::vector<float> parameters(kTrainingSize);
    for (float& value : parameters) value = gradients_.Next();
    return parameters;
  }

  const std::string kind_;
  Gradients gradients_;
  const std::vector<float> first_;
  Training training_;
  uint64_t step_ = 0;
  float learning_rate_ = 0;
};

// The greatest difference of a coordinate, relative to the coordinate itself or to the farthest
// that it has been seen from where it began, whichever is more: a parameter may pass
// through zero, and a step is a difference of parameters rounded to fp32.
class PathDifference {
 public:
  explicit PathDifference(std::vector<float> first)
      : first_(std::move(first)), farthest_(first_.size(), 0.0) {}

  template <class Reference>
  double Between(const std::vector<float>& got, const std::vector<Reference>& want) {
    double greatest = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      farthest_[i] = std::max(farthest_[i], std::fabs(double{want[i]} - first_[i]));
      const double scale = std::max(farthest_[i], std::fabs(double{want[i]}));
      const double difference = std::fabs(double{got[i]} - double{want[i]});
      if (!(difference <= 0)) greatest = std::max(greatest, difference / scale);
      if (std::isnan(difference)) return difference;
    }
    return greatest;
  }

 private:
  const std::vector<float> first_;
  std::vector<double> farthest_;
};

}  // namespace gradwire
