// SPDX-License-Identifier: Apache-2.0
// Chooses the model that a job names.
#include "worker/models/model.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/models/mlp.h"
#include "worker/models/quadratic_saddle.h"

namespace gradwire {
namespace {

// `kind`: the field of ModelConfig, for messages.
absl::StatusOr<std::unique_ptr<Model>> MakeMlp(absl::string_view kind,
                                               const std::vector<uint32_t>& widths) {
  uint64_t dimension = 0;
  for (size_t i = 1; i < widths.size(); ++i) {
    if (widths[i - 1] == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("model.", kind, ".", i == 1 ? "inputs" : absl::StrCat("hidden[", i - 2, "]"),
                       ": 0; must be at least 1"));
    }
    dimension += (uint64_t{widths[i - 1]} + 1) * widths[i];
    if (dimension > kMaxDimension) {
      return absl::InvalidArgumentError(
          absl::StrCat("model.", kind, ": more than ", kMaxDimension, " parameters"));
    }
  }
  if (widths.back() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.", kind, ".classes: ", widths.back(), "; must be at least 2"));
  }
  return std::make_unique<Mlp>(widths);
}

absl::Status CheckNumber(absl::string_view field, double value, bool zero_allowed) {
  if (std::isfinite(value) && (value > 0 || (zero_allowed && value == 0))) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("model.quadratic_saddle.", field, ": ", value,
                                                 "; must be finite and ",
                                                 zero_allowed ? "at least" : "above", " 0"));
}

absl::StatusOr<std::unique_ptr<Model>> MakeQuadraticSaddle(const v1::QuadraticSaddle& config) {
  QuadraticSaddle::Options options;
  options.dimension = config.dimension();
  if (config.negative() != 0) options.negative = config.negative();
  if (config.gamma() != 0) options.gamma = config.gamma();
  if (config.curvature() != 0) options.curvature = config.curvature();
  options.wall = config.wall();
  if (options.dimension == 0 || options.dimension > kMaxDimension) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.quadratic_saddle.dimension: ", options.dimension, "; must be in [1, ",
                     kMaxDimension, "]"));
  }
  if (options.negative > options.dimension) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.quadratic_saddle.negative: ", options.negative,
                     "; at most the dimension, ", options.dimension));
  }
  GRADWIRE_RETURN_IF_ERROR(CheckNumber("gamma", options.gamma, /*zero_allowed=*/false));
  GRADWIRE_RETURN_IF_ERROR(CheckNumber("curvature", options.curvature, /*zero_allowed=*/false));
  GRADWIRE_RETURN_IF_ERROR(CheckNumber("wall", options.wall, /*zero_allowed=*/true));
  return std::make_unique<QuadraticSaddle>(options);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeModel(const v1::ModelConfig& config) {
  switch (config.kind_case()) {
    case v1::ModelConfig::kLogistic:
      return MakeMlp("logistic", {config.logistic().inputs(), config.logistic().classes()});
    case v1::ModelConfig::kMlp: {
      std::vector<uint32_t> widths = {config.mlp().inputs()};
      widths.insert(widths.end(), config.mlp().hidden().begin(), config.mlp().hidden().end());
      widths.push_back(config.mlp().classes());
      return MakeMlp("mlp", widths);
    }
    case v1::ModelConfig::kQuadraticSaddle:
      return MakeQuadraticSaddle(config.quadratic_saddle());
    case v1::ModelConfig::kTensors:
      return absl::InvalidArgumentError(
          "model.tensors: this trainer does not know what they compute; use the client library "
          "with a trainer of your own, or choose logistic, mlp or quadratic_saddle");
    case v1::ModelConfig::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("model: not set; choose logistic, mlp or quadratic_saddle");
}

}  // namespace gradwire
