// SPDX-License-Identifier: Apache-2.0
// AdaGrad by the formulas of torch.optim.Adagrad (algorithms.md 3.2):
//   sum += g^2;  w -= lr / (1 + (t - 1) lr_decay) * g / (sqrt(sum) + eps)
#include <memory>
#include <vector>

#include "common/kernels/adaptive.h"
#include "common/optimizer/dense_optimizer.h"
#include "common/optimizer/parameters.h"
#include "common/optimizer/registry.h"

namespace gradwire {
namespace {

class Adagrad final : public DenseOptimizer {
 public:
  explicit Adagrad(const SpecValues& values)
      : DenseOptimizer(values.Number("lr")),
        learning_rate_decay_(values.Number("lr_decay")),
        initial_accumulator_(static_cast<float>(values.Number("initial_accumulator"))),
        adagrad_{.epsilon = static_cast<float>(values.Number("eps")),
                 .weight_decay = static_cast<float>(values.Number("weight_decay"))} {}

  std::vector<StateVector> state_vectors() const override {
    return {{.name = "sum", .initial = initial_accumulator_}};
  }

 private:
  void Step(const StepContext& context, const float* gradient, absl::Span<float> parameters,
            absl::Span<const absl::Span<float>> state) const override {
    AdagradParameters adagrad = adagrad_;
    const double slower = 1 + static_cast<double>(context.applied) * learning_rate_decay_;
    adagrad.learning_rate = static_cast<float>(context.learning_rate / slower);
    AdagradStep(adagrad, gradient, state[0].data(), parameters.data(), parameters.size());
  }

  const double learning_rate_decay_;
  const float initial_accumulator_;
  const AdagradParameters adagrad_;
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters = {
      LearningRateParameter("0.01"),
      {.name = "lr_decay",
       .default_value = "0",
       .max = 1,
       .help = "the rate is divided by 1 + lr_decay * updates so far"},
      {.name = "initial_accumulator",
       .default_value = "0",
       .max = 1e6,
       .help = "first value of the sum of squares"},
      EpsilonParameter("1e-10"),
      WeightDecayParameter(),
  };
  return parameters;
}

absl::StatusOr<std::unique_ptr<Optimizer>> Make(const SpecValues& values) {
  return std::make_unique<Adagrad>(values);
}

}  // namespace

// For the table in registry.cc.
OptimizerEntry AdagradEntry() {
  return {.name = "adagrad",
          .summary = "divides by the root of the sum of all squared gradients",
          .source = "Duchi, Hazan, Singer 2011; PyTorch",
          .state = "1 vector",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
