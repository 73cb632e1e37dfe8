// SPDX-License-Identifier: Apache-2.0
// Implementation of adam_family.h, by the formulas of PyTorch 1.13 (algorithms.md 3.5):
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   w -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
// AMSGrad takes the largest v so far in place of v, before the correction.
#include "common/optimizer/adam_family.h"

#include <cmath>
#include <utility>

#include "common/base/status_macros.h"
#include "common/kernels/adaptive.h"
#include "common/optimizer/dense_optimizer.h"
#include "common/optimizer/parameters.h"

namespace gradwire {
namespace {

class Adam final : public DenseOptimizer {
 public:
  Adam(WeightDecay decay, const SpecValues& values)
      : DenseOptimizer(values.Number("lr")),
        beta1_(values.Number("beta1")),
        beta2_(values.Number("beta2")),
        decoupled_decay_(decay == WeightDecay::kDecoupled ? values.Number("weight_decay") : 0),
        amsgrad_(values.Word("amsgrad") == "yes"),
        adam_{.beta1 = static_cast<float>(beta1_),
              .one_minus_beta1 = static_cast<float>(1 - beta1_),
              .beta2 = static_cast<float>(beta2_),
              .one_minus_beta2 = static_cast<float>(1 - beta2_),
              .epsilon = static_cast<float>(values.Number("eps"))} {
    if (decay == WeightDecay::kCoupled) {
      adam_.weight_decay = static_cast<float>(values.Number("weight_decay"));
    }
  }

  std::vector<StateVector> state_vectors() const override {
    std::vector<StateVector> vectors = {{.name = "first_moment"}, {.name = "second_moment"}};
    if (amsgrad_) vectors.push_back({.name = "max_second_moment"});
    return vectors;
  }
  std::vector<StateScalar> state_scalars() const override {
    return {{.name = "beta1_power", .initial = 1}, {.name = "beta2_power", .initial = 1}};
  }
  bool has_first_moment() const override { return beta1_ > 0; }

  void BeginStep(absl::Span<double> scalars) const override {
    scalars[0] *= beta1_;
    scalars[1] *= beta2_;
  }

 private:
  void Step(const StepContext& context, const float* gradient, absl::Span<float> parameters,
            absl::Span<const absl::Span<float>> state) const override {
    const double rate = context.learning_rate;
    AdamParameters adam = adam_;
    adam.step_size = static_cast<float>(rate / (1 - context.scalars[0]));
    adam.second_correction = static_cast<float>(std::sqrt(1 - context.scalars[1]));
    adam.keep = static_cast<float>(1 - rate * decoupled_decay_);
    const AdamState vectors = {.first = state[0].data(),
                               .second = state[1].data(),
                               .max_second = amsgrad_ ? state[2].data() : nullptr};
    AdamStep(adam, gradient, vectors, parameters.data(), parameters.size());
  }

  const double beta1_;
  const double beta2_;
  const double decoupled_decay_;
  const bool amsgrad_;
  AdamParameters adam_;
};

}  // namespace

std::vector<SpecParameter> AdamParameterList(std::string weight_decay, std::string help) {
  SpecParameter decay = WeightDecayParameter();
  decay.default_value = std::move(weight_decay);
  decay.help = std::move(help);
  return {
      LearningRateParameter("0.001"),
      DecayParameter("beta1", "0.9", "of the old average of gradients, a step"),
      DecayParameter("beta2", "0.999", "of the old average of squares, a step"),
      EpsilonParameter("1e-8"),
      decay,
      SwitchParameter("amsgrad", "divide by the largest average of squares so far"),
  };
}

absl::StatusOr<std::unique_ptr<Optimizer>> MakeAdam(WeightDecay decay, const SpecValues& values) {
  GRADWIRE_RETURN_IF_ERROR(CheckBelowOne(values, {"beta1", "beta2"}));
  return std::make_unique<Adam>(decay, values);
}

}  // namespace gradwire
