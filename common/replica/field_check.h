// SPDX-License-Identifier: Apache-2.0
// The one check, and the one sentence, for a number in a configuration.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gradwire {

// InvalidArgument "FIELD: VALUE is not in [min, max]" unless min <= value <= max.  NaN never is.
absl::Status CheckField(absl::string_view field, uint64_t value, uint64_t min, uint64_t max);
absl::Status CheckField(absl::string_view field, double value, double min, double max);

}  // namespace gradwire
