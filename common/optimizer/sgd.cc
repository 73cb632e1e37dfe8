// SPDX-License-Identifier: Apache-2.0
// Stochastic gradient descent with momentum, Nesterov, dampening and weight decay, by
// the formulas of torch.optim.SGD (algorithms.md 3.1).
#include "common/kernels/sgd.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/kernels/vector.h"
#include "common/optimizer/registry.h"

namespace gradwire {
namespace {

// Without memory the update is in units of the parameters and is only
// subtracted: a sparse one costs its entries and touches nothing else.
class PlainSgd final : public Optimizer {
 public:
  explicit PlainSgd(float learning_rate) : learning_rate_(learning_rate) {}

  Units units() const override { return Units::kUpdate; }
  std::vector<std::string> state_names() const override { return {}; }
  float learning_rate() const override { return learning_rate_; }

  void Apply(const StepContext& /*context*/, const BlockValues& update,
             absl::Span<float> parameters,
             absl::Span<const absl::Span<float>> /*state*/) const override {
    if (update.dense) {
      Subtract(update.values.data(), parameters.data(), parameters.size());
      return;
    }
    for (size_t i = 0; i < update.indices.size(); ++i) {
      parameters[update.indices[i]] -= update.values[i];
    }
  }

 private:
  const float learning_rate_;
};

// With momentum or weight decay every coordinate moves at every step: one dense pass.
class DenseSgd final : public Optimizer {
 public:
  explicit DenseSgd(const SgdParameters& sgd) : sgd_(sgd) {}

  Units units() const override { return Units::kGradient; }
  std::vector<std::string> state_names() const override {
    if (sgd_.momentum == 0) return {};
    return {"momentum"};
  }
  float learning_rate() const override { return sgd_.learning_rate; }

  void Apply(const StepContext& context, const BlockValues& update, absl::Span<float> parameters,
             absl::Span<const absl::Span<float>> state) const override {
    SgdParameters sgd = sgd_;
    sgd.learning_rate = context.learning_rate;
    sgd.first = context.applied == 0;
    std::vector<float> scattered;
    const float* gradient = update.values.data();
    if (!update.dense) {
      scattered.assign(parameters.size(), 0.0F);
      for (size_t i = 0; i < update.indices.size(); ++i) {
        scattered[update.indices[i]] = update.values[i];
      }
      gradient = scattered.data();
    }
    float* momentum = state.empty() ? nullptr : state.front().data();
    SgdStep(sgd, gradient, momentum, parameters.data(), parameters.size());
  }

 private:
  const SgdParameters sgd_;
};

const std::vector<SpecParameter>& Parameters() {
  using Kind = SpecParameter::Kind;
  static const std::vector<SpecParameter> parameters = {
      {.name = "lr",
       .default_value = "",
       .min = 1e-20,
       .max = 1e6,
       .help = "learning rate, before any schedule"},
      {.name = "momentum", .default_value = "0", .max = 1, .help = "of the old buffer, a step"},
      {.name = "dampening", .default_value = "0", .max = 1, .help = "1 - the gradient's weight"},
      {.name = "weight_decay", .default_value = "0", .max = 1, .help = "added as L2 gradient"},
      {.name = "nesterov",
       .kind = Kind::kWord,
       .default_value = "no",
       .words = {"no", "yes"},
       .help = "look ahead by one step of momentum"},
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
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
