// SPDX-License-Identifier: Apache-2.0
// Implementation of perturbation.h.
#include "common/optimizer/perturbation.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/kernels/vector.h"
#include "common/random/gaussian.h"

namespace gradwire {
namespace {

SpecParameter Positive(const char* name, const char* value, double max, const char* help) {
  return {.name = name, .default_value = value, .min = 1e-20, .max = max, .help = help};
}

const std::vector<SpecParameter>& NoParameters() {
  static const auto* const parameters = new std::vector<SpecParameter>();
  return *parameters;
}

const std::vector<SpecParameter>& StdParameters() {
  static const auto* const parameters = new std::vector<SpecParameter>{
      Positive("std", "", 1e6, "standard deviation per coordinate, in gradient units")};
  return *parameters;
}

const std::vector<SpecParameter>& OnDemandParameters() {
  static const auto* const parameters = new std::vector<SpecParameter>{
      Positive("radius", "", 1e30, "of the ball, in units of the parameters"),
      Positive("threshold", "", 1e30, "greatest norm of the aggregate, in gradient units"),
      {.name = "wait", .default_value = "100", .min = 1, .max = 1e12, .help = "steps between two"},
      {.name = "escape",
       .default_value = "0",
       .max = 1e30,
       .help = "distance that tells a saddle; 0: no test"}};
  return *parameters;
}

absl::StatusOr<Perturbation> MakeNone(const SpecValues& /*values*/) { return Perturbation{}; }

absl::StatusOr<Perturbation> MakeGaussian(const SpecValues& values) {
  return Perturbation{.kind = Perturbation::Kind::kGaussian,
                      .std = static_cast<float>(values.Number("std"))};
}

absl::StatusOr<Perturbation> MakeSphere(const SpecValues& values) {
  return Perturbation{.kind = Perturbation::Kind::kSphere,
                      .std = static_cast<float>(values.Number("std"))};
}

absl::StatusOr<Perturbation> MakeOnDemand(const SpecValues& values) {
  const auto wait = static_cast<uint64_t>(values.Number("wait"));
  if (static_cast<double>(wait) != values.Number("wait")) {
    return absl::InvalidArgumentError(
        absl::StrCat("wait: ", values.Number("wait"), " is not a whole number"));
  }
  return Perturbation{.kind = Perturbation::Kind::kOnDemand,
                      .radius = values.Number("radius"),
                      .threshold = values.Number("threshold"),
                      .wait = wait,
                      .escape = values.Number("escape")};
}

constexpr PerturbationEntry kPerturbations[] = {
    {"none", "no noise", "", NoParameters, MakeNone},
    {"gaussian", "isotropic noise on the gradient, every step",
     "Jin, Netrapalli, Ge, Kakade, Jordan 2021; Avdiukhin, Yaroslavtsev 2021", StdParameters,
     MakeGaussian},
    {"sphere", "noise uniform on a sphere, on the gradient, every step",
     "Ge, Huang, Jin, Yuan 2015", StdParameters, MakeSphere},
    {"on_demand", "noise uniform in a ball, on the parameters, where the gradient is small",
     "Jin, Ge, Netrapalli, Kakade, Jordan 2017", OnDemandParameters, MakeOnDemand},
};

RandomKey KeyOf(const BlockKey& key, Purpose purpose) {
  return {.seed = key.seed, .purpose = purpose, .step = key.step, .block = key.number()};
}

}  // namespace

absl::Span<const PerturbationEntry> PerturbationRegistry() { return kPerturbations; }

absl::StatusOr<Perturbation> MakePerturbation(absl::string_view spec) {
  for (const PerturbationEntry& entry : kPerturbations) {
    if (SpecName(spec) != entry.name) continue;
    GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values,
                              ParseSpecArguments(spec, entry.parameters()));
    absl::StatusOr<Perturbation> made = entry.make(values);
    if (made.ok()) return made;
    return absl::InvalidArgumentError(absl::StrCat("\"", spec, "\": ", made.status().message()));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", spec, "\": no perturbation \"", SpecName(spec), "\"; known: ",
      absl::StrJoin(kPerturbations, ", ", [](std::string* out, const PerturbationEntry& entry) {
        out->append(entry.name);
      })));
}

void AddNormals(const BlockKey& key, Purpose purpose, float scale, absl::Span<float> values) {
  std::vector<float> normals(values.size());
  FillGaussians(KeyOf(key, purpose), absl::MakeSpan(normals));
  AddScaled(scale, normals.data(), values.data(), values.size());
}

double SquaredNormals(const BlockKey& key, Purpose purpose) {
  std::vector<float> normals(key.size);
  FillGaussians(KeyOf(key, purpose), absl::MakeSpan(normals));
  double sum = 0;
  for (const float normal : normals) sum += double{normal} * double{normal};
  return sum;
}

}  // namespace gradwire
