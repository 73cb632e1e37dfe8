// SPDX-License-Identifier: Apache-2.0
// Follow the Moving Leader without projection, in the collapsed form of algorithms.md 3.6:
//   v = beta2 v + (1 - beta2) g^2
//   w -= lr (1 - beta1) / (1 - beta1^t) * g / (sqrt(v / (1 - beta2^t)) + eps)
// MXNet's recursion over z and d gives the same steps, but undoes whatever else changes w.
#include <memory>
#include <vector>

#include "common/base/status_macros.h"
#include "common/kernels/adaptive.h"
#include "common/optimizer/dense_optimizer.h"
#include "common/optimizer/parameters.h"
#include "common/optimizer/registry.h"

namespace gradwire {
namespace {

class Ftml final : public DenseOptimizer {
 public:
  explicit Ftml(const SpecValues& values)
      : DenseOptimizer(values.Number("lr")),
        beta1_(values.Number("beta1")),
        beta2_(values.Number("beta2")),
        ftml_{.beta2 = static_cast<float>(beta2_),
              .one_minus_beta2 = static_cast<float>(1 - beta2_),
              .epsilon = static_cast<float>(values.Number("eps"))} {}

  std::vector<StateVector> state_vectors() const override { return {{.name = "second_moment"}}; }
  std::vector<StateScalar> state_scalars() const override {
    return {{.name = "beta1_power", .initial = 1}, {.name = "beta2_power", .initial = 1}};
  }

  void BeginStep(absl::Span<double> scalars) const override {
    scalars[0] *= beta1_;
    scalars[1] *= beta2_;
  }

 private:
  void Step(const StepContext& context, const float* gradient, absl::Span<float> parameters,
            absl::Span<const absl::Span<float>> state) const override {
    FtmlParameters ftml = ftml_;
    ftml.step_size =
        static_cast<float>(double{context.learning_rate} * (1 - beta1_) / (1 - context.scalars[0]));
    ftml.second_correction = static_cast<float>(1 - context.scalars[1]);
    FtmlStep(ftml, gradient, state[0].data(), parameters.data(), parameters.size());
  }

  const double beta1_;
  const double beta2_;
  const FtmlParameters ftml_;
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters = {
      LearningRateParameter("0.0025"),
      DecayParameter("beta1", "0.6", "of the old leaders, a step"),
      DecayParameter("beta2", "0.999", "of the old average of squares, a step"),
      EpsilonParameter("1e-8"),
  };
  return parameters;
}

absl::StatusOr<std::unique_ptr<Optimizer>> Make(const SpecValues& values) {
  GRADWIRE_RETURN_IF_ERROR(CheckBelowOne(values, {"beta1", "beta2"}));
  return std::make_unique<Ftml>(values);
}

}  // namespace

// For the table in registry.cc.
OptimizerEntry FtmlEntry() {
  return {.name = "ftml",
          .summary = "follows the moving leader: RMSProp with bias correction",
          .source = "Zheng, Kwok 2017 (ICML); MXNet",
          .state = "1 vector, 2 numbers",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
