// SPDX-License-Identifier: Apache-2.0
// AdaDelta by the formulas of torch.optim.Adadelta (algorithms.md 3.4): steps in the size of
// former steps, so that the learning rate is 1.  The first ones are tiny.
#include <memory>
#include <vector>

#include "common/base/status_macros.h"
#include "common/kernels/adaptive.h"
#include "common/optimizer/dense_optimizer.h"
#include "common/optimizer/parameters.h"
#include "common/optimizer/registry.h"

namespace gradwire {
namespace {

class Adadelta final : public DenseOptimizer {
 public:
  explicit Adadelta(const SpecValues& values)
      : DenseOptimizer(values.Number("lr")),
        adadelta_{.rho = static_cast<float>(values.Number("rho")),
                  .one_minus_rho = static_cast<float>(1 - values.Number("rho")),
                  .epsilon = static_cast<float>(values.Number("eps")),
                  .weight_decay = static_cast<float>(values.Number("weight_decay"))} {}

  std::vector<StateVector> state_vectors() const override {
    return {{.name = "square_average"}, {.name = "delta_average"}};
  }

 private:
  void Step(const StepContext& context, const float* gradient, absl::Span<float> parameters,
            absl::Span<const absl::Span<float>> state) const override {
    AdadeltaParameters adadelta = adadelta_;
    adadelta.learning_rate = context.learning_rate;
    AdadeltaStep(adadelta, gradient, state[0].data(), state[1].data(), parameters.data(),
                 parameters.size());
  }

  const AdadeltaParameters adadelta_;
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters = {
      LearningRateParameter("1"),
      DecayParameter("rho", "0.9", "of the old averages of squares, a step"),
      EpsilonParameter("1e-6"),
      WeightDecayParameter(),
  };
  return parameters;
}

absl::StatusOr<std::unique_ptr<Optimizer>> Make(const SpecValues& values) {
  GRADWIRE_RETURN_IF_ERROR(CheckBelowOne(values, {"rho"}));
  return std::make_unique<Adadelta>(values);
}

}  // namespace

// For the table in registry.cc.
OptimizerEntry AdadeltaEntry() {
  return {.name = "adadelta",
          .summary = "steps in the size of former steps; needs no learning rate",
          .source = "Zeiler 2012, arXiv 1212.5701; PyTorch",
          .state = "2 vectors",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
