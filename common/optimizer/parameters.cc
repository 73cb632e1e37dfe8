// SPDX-License-Identifier: Apache-2.0
// Implementation of parameters.h.
#include "common/optimizer/parameters.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace gradwire {

SpecParameter LearningRateParameter(std::string default_value) {
  return {.name = "lr",
          .default_value = std::move(default_value),
          .min = 1e-20,
          .max = 1e6,
          .help = "learning rate, before any schedule"};
}

SpecParameter WeightDecayParameter() {
  return {.name = "weight_decay", .default_value = "0", .max = 1, .help = "added as L2 gradient"};
}

SpecParameter EpsilonParameter(std::string default_value) {
  return {.name = "eps",
          .default_value = std::move(default_value),
          .min = 1e-30,  // a normal float: 0/eps stays 0
          .max = 1,
          .help = "keeps the divisor from 0"};
}

SpecParameter DecayParameter(std::string name, std::string default_value, std::string help) {
  return {.name = std::move(name),
          .default_value = std::move(default_value),
          .max = 1,
          .help = std::move(help)};
}

SpecParameter SwitchParameter(std::string name, std::string help) {
  return {.name = std::move(name),
          .kind = SpecParameter::Kind::kWord,
          .default_value = "no",
          .words = {"no", "yes"},
          .help = std::move(help)};
}

absl::Status CheckBelowOne(const SpecValues& values,
                           std::initializer_list<absl::string_view> names) {
  for (const absl::string_view name : names) {
    if (values.Number(name) < 1) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": 1 is not in [0, 1): nothing new would be taken"));
  }
  return absl::OkStatus();
}

}  // namespace gradwire
