// SPDX-License-Identifier: Apache-2.0
// Stochastic gradient descent with momentum, Nesterov, dampening and weight decay, by
// the formulas of torch.optim.SGD (algorithms.md 3.1).
#include "common/kernels/sgd.h"

#include <memory>
#include <vector>

#include "common/kernels/vector.h"
#include "common/optimizer/dense_optimizer.h"
#include "common/optimizer/parameters.h"
#include "common/optimizer/registry.h"

namespace gradwire {
namespace {

// Without memory the update is only subtracted: a sparse one costs its
// entries and touches nothing else.
class PlainSgd final : public Optimizer {
 public:
  explicit PlainSgd(float learning_rate) : learning_rate_(learning_rate) {}

  Units units() const override { return Units::kUpdate; }
  float learning_rate() const override { return learning_rate_; }

  void Apply(const StepContext& context, const BlockValues& update, absl::Span<float> parameters,
             absl::Span<const absl::Span<float>> /*state*/) const override {
    const float scale = context.units == Units::kUpdate ? 1.0F : context.learning_rate;
    if (!update.dense) {
      for (size_t i = 0; i < update.indices.size(); ++i) {
        parameters[update.indices[i]] -= scale * update.values[i];
      }
    } else if (context.units == Units::kUpdate) {
      Subtract(update.values.data(), parameters.data(), parameters.size());
    } else {
      AddScaled(-scale, update.values.data(), parameters.data(), parameters.size());
    }
  }

 private:
  const float learning_rate_;
};

// With momentum or weight decay every coordinate moves at every step.
class DenseSgd final : public DenseOptimizer {
 public:
  explicit DenseSgd(const SgdParameters& sgd) : DenseOptimizer(sgd.learning_rate), sgd_(sgd) {}

  std::vector<StateVector> state_vectors() const override {
    if (sgd_.momentum == 0) return {};
    return {{.name = "momentum"}};
  }
  bool has_first_moment() const override { return sgd_.momentum > 0; }

 private:
  void Step(const StepContext& context, const float* gradient, absl::Span<float> parameters,
            absl::Span<const absl::Span<float>> state) const override {
    SgdParameters sgd = sgd_;
    sgd.learning_rate = context.learning_rate;
    sgd.first = context.applied == 0;
    float* momentum = state.empty() ? nullptr : state.front().data();
    SgdStep(sgd, gradient, momentum, parameters.data(), parameters.size());
  }

  const SgdParameters sgd_;
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters = {
      LearningRateParameter(""),
      {.name = "momentum", .default_value = "0", .max = 1, .help = "of the old buffer, a step"},
      {.name = "dampening", .default_value = "0", .max = 1, .help = "1 - the gradient's weight"},
      WeightDecayParameter(),
      SwitchParameter("nesterov", "look ahead by one step of momentum"),
  };
  return parameters;
}

absl::StatusOr<std::unique_ptr<Optimizer>> Make(const SpecValues& values) {
  const SgdParameters sgd = {.learning_rate = static_cast<float>(values.Number("lr")),
                             .momentum = static_cast<float>(values.Number("momentum")),
                             .dampening = static_cast<float>(values.Number("dampening")),
                             .weight_decay = static_cast<float>(values.Number("weight_decay")),
                             .nesterov = values.Word("nesterov") == "yes"};
  if (sgd.nesterov && (sgd.momentum == 0 || sgd.dampening != 0)) {
    return absl::InvalidArgumentError(
        "nesterov=yes needs momentum > 0 and dampening=0; set them or nesterov=no");
  }
  if (sgd.momentum == 0 && sgd.weight_decay == 0) {
    return std::make_unique<PlainSgd>(sgd.learning_rate);
  }
  return std::make_unique<DenseSgd>(sgd);
}

}  // namespace

// For the table in registry.cc.
OptimizerEntry SgdEntry() {
  return {.name = "sgd",
          .summary = "gradient descent; momentum, Nesterov and weight decay as in PyTorch",
          .source = "Robbins, Monro 1951; Sutskever et al. 2013; PyTorch",
          .state = "none; with momentum 1 vector",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
