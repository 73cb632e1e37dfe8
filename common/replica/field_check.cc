// SPDX-License-Identifier: Apache-2.0
// Implementation of field_check.h.
#include "common/replica/field_check.h"

#include "absl/strings/str_cat.h"

namespace gradwire {
namespace {

template <typename Number>
absl::Status Check(absl::string_view field, Number value, Number min, Number max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": ", value, " is not in [", min, ", ", max, "]"));
}

}  // namespace

absl::Status CheckField(absl::string_view field, uint64_t value, uint64_t min, uint64_t max) {
  return Check(field, value, min, max);
}

absl::Status CheckField(absl::string_view field, double value, double min, double max) {
  return Check(field, value, min, max);
}

}  // namespace gradwire
