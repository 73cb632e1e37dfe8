// SPDX-License-Identifier: Apache-2.0
// From a model's configuration to its tensors, in the order of the parameters.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gradwire/v1/job.pb.h"

namespace gradwire {

// Puts in the defaults that job.proto names.
void FillModelDefaults(v1::ModelConfig* model);

// A tensor that a model asks for; nothing of it is checked against the layout's limits yet.
struct ModelTensor {
  std::string field;  // that it stands in or comes from, for messages: "model.tensors.tensor[3]"
  std::string name;
  std::vector<uint64_t> shape;
  std::string init;
};

// `model` has its defaults.  InvalidArgument names the field, the value and what is allowed.
absl::StatusOr<std::vector<ModelTensor>> ExpandModel(const v1::ModelConfig& model);

}  // namespace gradwire
