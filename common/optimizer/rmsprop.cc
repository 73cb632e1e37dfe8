// SPDX-License-Identifier: Apache-2.0
// RMSProp, plain, centered and with momentum, by the formulas of torch.optim.RMSprop
// (algorithms.md 3.3), but with the centered variance limited to 0 from below.
#include <memory>
#include <vector>

#include "common/base/status_macros.h"
#include "common/kernels/adaptive.h"
#include "common/optimizer/dense_optimizer.h"
#include "common/optimizer/parameters.h"
#include "common/optimizer/registry.h"

namespace gradwire {
namespace {

class Rmsprop final : public DenseOptimizer {
 public:
  explicit Rmsprop(const SpecValues& values)
      : DenseOptimizer(values.Number("lr")),
        centered_(values.Word("centered") == "yes"),
        rmsprop_{.alpha = static_cast<float>(values.Number("alpha")),
                 .one_minus_alpha = static_cast<float>(1 - values.Number("alpha")),
                 .epsilon = static_cast<float>(values.Number("eps")),
                 .weight_decay = static_cast<float>(values.Number("weight_decay")),
                 .momentum = static_cast<float>(values.Number("momentum"))} {}

  std::vector<StateVector> state_vectors() const override {
    std::vector<StateVector> vectors = {{.name = "square_average"}};
    if (centered_) vectors.push_back({.name = "gradient_average"});
    if (rmsprop_.momentum > 0) vectors.push_back({.name = "momentum"});
    return vectors;
  }
  // The centered average only enters a variance: no step follows it.
  bool has_first_moment() const override { return rmsprop_.momentum > 0; }

 private:
  void Step(const StepContext& context, const float* gradient, absl::Span<float> parameters,
            absl::Span<const absl::Span<float>> state) const override {
    RmspropParameters rmsprop = rmsprop_;
    rmsprop.learning_rate = context.learning_rate;
    RmspropState vectors = {.square_average = state.front().data()};
    if (centered_) vectors.gradient_average = state[1].data();
    if (rmsprop_.momentum > 0) vectors.momentum_buffer = state.back().data();
    RmspropStep(rmsprop, gradient, vectors, parameters.data(), parameters.size());
  }

  const bool centered_;
  const RmspropParameters rmsprop_;
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters = {
      LearningRateParameter("0.01"),
      DecayParameter("alpha", "0.99", "of the old average of squares, a step"),
      EpsilonParameter("1e-8"),
      DecayParameter("momentum", "0", "of the old buffer, a step"),
      SwitchParameter("centered", "divide by the standard deviation, not the mean square"),
      WeightDecayParameter(),
  };
  return parameters;
}

absl::StatusOr<std::unique_ptr<Optimizer>> Make(const SpecValues& values) {
  GRADWIRE_RETURN_IF_ERROR(CheckBelowOne(values, {"alpha", "momentum"}));
  return std::make_unique<Rmsprop>(values);
}

}  // namespace

// For the table in registry.cc.
OptimizerEntry RmspropEntry() {
  return {.name = "rmsprop",
          .summary = "divides by the root of a running average of squared gradients",
          .source = "Tieleman, Hinton 2012; centered: Graves 2013; PyTorch",
          .state = "1 vector; centered and momentum 1 more each",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
