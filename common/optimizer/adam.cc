// SPDX-License-Identifier: Apache-2.0
// Adam with L2 weight decay and AMSGrad, as torch.optim.Adam; the formulas stand in
// adam_family.cc.
#include "common/optimizer/adam_family.h"
#include "common/optimizer/registry.h"

namespace gradwire {
namespace {

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters =
      AdamParameterList("0", "added as L2 gradient");
  return parameters;
}

absl::StatusOr<std::unique_ptr<Optimizer>> Make(const SpecValues& values) {
  return MakeAdam(WeightDecay::kCoupled, values);
}

}  // namespace

// For the table in registry.cc.
OptimizerEntry AdamEntry() {
  return {.name = "adam",
          .summary = "running averages of gradients and squares, bias-corrected",
          .source = "Kingma, Ba 2015, arXiv 1412.6980; AMSGrad: Reddi et al. 2018; PyTorch 1.13",
          .state = "2 vectors, 2 numbers; with amsgrad 3 vectors",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
