// SPDX-License-Identifier: Apache-2.0
// What `adam` and `adamw` share: they differ in where the weight decay goes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/spec.h"
#include "common/optimizer/optimizer.h"

namespace gradwire {

enum class WeightDecay {
  kCoupled,    // added to the gradient
  kDecoupled,  // w *= 1 - learning rate * decay, before the step
};

// Those of both, the weight decay's default and help being one's own.
std::vector<SpecParameter> AdamParameterList(std::string weight_decay, std::string help);

// InvalidArgument when a beta is 1.
absl::StatusOr<std::unique_ptr<Optimizer>> MakeAdam(WeightDecay decay, const SpecValues& values);

}  // namespace gradwire
