// SPDX-License-Identifier: Apache-2.0
// Implementation of perturbation.h.
#include "common/optimizer/perturbation.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/spec.h"
#include "common/base/status_macros.h"
#include "common/kernels/vector.h"
#include "common/random/gaussian.h"

namespace gradwire {

void Perturbation::AddTo(const BlockKey& key, absl::Span<float> gradient) const {
  if (std == 0) return;
  std::vector<float> noise(gradient.size());
  FillGaussians(
      {.seed = key.seed, .purpose = Purpose::kPerturbation, .step = key.step, .block = key.block},
      absl::MakeSpan(noise));
  AddScaled(std, noise.data(), gradient.data(), gradient.size());
}

absl::StatusOr<Perturbation> MakePerturbation(absl::string_view spec) {
  const absl::string_view name = SpecName(spec);
  if (name == "none") {
    GRADWIRE_RETURN_IF_ERROR(ParseSpecArguments(spec, {}).status());
    return Perturbation{};
  }
  if (name == "gaussian") {
    const SpecParameter std = {.name = "std",
                               .default_value = "",
                               .min = 1e-20,
                               .max = 1e6,
                               .help = "per coordinate, in gradient units"};
    GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values, ParseSpecArguments(spec, {std}));
    return Perturbation{.std = static_cast<float>(values.Number("std"))};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", spec, "\": no perturbation \"", name, "\"; known: none, gaussian"));
}

}  // namespace gradwire
