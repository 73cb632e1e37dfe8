// SPDX-License-Identifier: Apache-2.0
// Adam with decoupled weight decay, w *= 1 - lr * weight_decay before the step, as
// torch.optim.AdamW; the formulas stand in adam_family.cc.
#include "common/optimizer/adam_family.h"
#include "common/optimizer/registry.h"

namespace gradwire {
namespace {

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters =
      AdamParameterList("0.01", "share of the parameters that goes, times the learning rate");
  return parameters;
}

absl::StatusOr<std::unique_ptr<Optimizer>> Make(const SpecValues& values) {
  return MakeAdam(WeightDecay::kDecoupled, values);
}

}  // namespace

// For the table in registry.cc.
OptimizerEntry AdamwEntry() {
  return {.name = "adamw",
          .summary = "adam with weight decay beside the gradient, not in it",
          .source = "Loshchilov, Hutter 2019, arXiv 1711.05101; PyTorch 1.13",
          .state = "2 vectors, 2 numbers; with amsgrad 3 vectors",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
