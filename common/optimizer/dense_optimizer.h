// SPDX-License-Identifier: Apache-2.0
// What optimizers share for which every coordinate moves at every step: a sparse
// update is scattered to zeros once, and one dense pass follows.
#pragma once

#include "absl/types/span.h"
#include "common/optimizer/optimizer.h"

namespace gradwire {

class DenseOptimizer : public Optimizer {
 public:
  Units units() const final { return Units::kGradient; }
  float learning_rate() const final { return learning_rate_; }

  void Apply(const StepContext& context, const BlockValues& update, absl::Span<float> parameters,
             absl::Span<const absl::Span<float>> state) const final;

 protected:
  explicit DenseOptimizer(double learning_rate)
      : learning_rate_(static_cast<float>(learning_rate)) {}

  // Apply, with the gradient of every coordinate (parameters.size() of them).
  virtual void Step(const StepContext& context, const float* gradient, absl::Span<float> parameters,
                    absl::Span<const absl::Span<float>> state) const = 0;

 private:
  const float learning_rate_;
};

}  // namespace gradwire
