// SPDX-License-Identifier: Apache-2.0
// Implementation of clip.h.
#include "common/optimizer/clip.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/spec.h"
#include "common/base/status_macros.h"

namespace gradwire {

absl::StatusOr<Clip> ParseClip(absl::string_view spec) {
  const absl::string_view name = SpecName(spec);
  if (name == "none") {
    GRADWIRE_RETURN_IF_ERROR(ParseSpecArguments(spec, {}).status());
    return Clip{};
  }
  if (name != "norm" && name != "value") {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", spec, "\": not known; there are: none, norm, value"));
  }
  const SpecParameter limit = {
      .name = "limit", .default_value = "", .min = 1e-20, .max = 1e30, .help = "in gradient units"};
  GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values, ParseSpecArguments(spec, {limit}));
  return Clip{.kind = name == "norm" ? Clip::Kind::kNorm : Clip::Kind::kValue,
              .limit = static_cast<float>(values.Number("limit"))};
}

float ClipFactor(float limit, double norm) {
  return static_cast<float>(std::min(1.0, limit / (norm + 1e-6)));
}

}  // namespace gradwire
