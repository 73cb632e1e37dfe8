// SPDX-License-Identifier: Apache-2.0
// Implementation of steps.h.
#include "common/optimizer/schedules/steps.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace gradwire {

SpecParameter StepsParameter(std::string name, std::string default_value, std::string help) {
  constexpr double kMaxStep = 1099511627776.0;  // 2^40
  return {.name = std::move(name),
          .default_value = std::move(default_value),
          .min = 1,
          .max = kMaxStep,
          .help = std::move(help)};
}

absl::Status CheckWholeNumbers(const SpecValues& values, absl::string_view name) {
  double last = -1;
  for (const double step : values.Numbers(name)) {
    if (step != static_cast<double>(static_cast<uint64_t>(step))) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", step, " is not a whole number"));
    }
    if (step <= last) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": ", step, " stands after ", last, "; steps must ascend"));
    }
    last = step;
  }
  return absl::OkStatus();
}

double Power(double base, uint64_t exponent) {
  double power = 1;
  for (double square = base; exponent != 0; square *= square, exponent >>= 1) {
    if ((exponent & 1) != 0) power *= square;
  }
  return power;
}

}  // namespace gradwire
