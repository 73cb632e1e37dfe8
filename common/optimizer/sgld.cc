// SPDX-License-Identifier: Apache-2.0
// Stochastic gradient Langevin dynamics, as MXNet's SGLD (algorithms.md 3.8):
//   w -= lr/2 (g + weight_decay w);  w += N(0, lr), independent for every coordinate
// The noise is drawn by every replica, alike, from (seed, kLangevin, step, block).
#include <cmath>
#include <memory>
#include <vector>

#include "common/kernels/sgd.h"
#include "common/kernels/vector.h"
#include "common/optimizer/dense_optimizer.h"
#include "common/optimizer/parameters.h"
#include "common/optimizer/registry.h"
#include "common/random/gaussian.h"

namespace gradwire {
namespace {

class Sgld final : public DenseOptimizer {
 public:
  Sgld(double learning_rate, double weight_decay)
      : DenseOptimizer(learning_rate), weight_decay_(static_cast<float>(weight_decay)) {}

  bool draws_noise() const override { return true; }

 private:
  void Step(const StepContext& context, const float* gradient, absl::Span<float> parameters,
            absl::Span<const absl::Span<float>> /*state*/) const override {
    SgdStep({.learning_rate = context.learning_rate / 2, .weight_decay = weight_decay_}, gradient,
            nullptr, parameters.data(), parameters.size());
    std::vector<float> noise(parameters.size());
    FillGaussians({.seed = context.key.seed,
                   .purpose = Purpose::kLangevin,
                   .step = context.key.step,
                   .block = context.key.number()},
                  absl::MakeSpan(noise));
    AddScaled(std::sqrt(context.learning_rate), noise.data(), parameters.data(), noise.size());
  }

  const float weight_decay_;
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters = {LearningRateParameter(""),
                                                        WeightDecayParameter()};
  return parameters;
}

absl::StatusOr<std::unique_ptr<Optimizer>> Make(const SpecValues& values) {
  return std::make_unique<Sgld>(values.Number("lr"), values.Number("weight_decay"));
}

}  // namespace

// For the table in registry.cc.
OptimizerEntry SgldEntry() {
  return {.name = "sgld",
          .summary = "half a gradient step, and noise whose variance is the learning rate",
          .source = "Welling, Teh 2011 (ICML); MXNet",
          .state = "none",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
