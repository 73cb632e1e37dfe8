// SPDX-License-Identifier: Apache-2.0
// What schedules share: parameters that count steps, and powers without libm.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/base/spec.h"

namespace gradwire {

// A number of steps in [1, 2^40], the limit of JobConfig.steps; an empty default makes it
// required.  For CheckWholeNumbers.
SpecParameter StepsParameter(std::string name, std::string default_value, std::string help);

// InvalidArgument unless all values of the parameter are whole, and ascend.
absl::Status CheckWholeNumbers(const SpecValues& values, absl::string_view name);

// base^exponent by repeated squaring: pow() has other bits on other machines.
double Power(double base, uint64_t exponent);

}  // namespace gradwire
