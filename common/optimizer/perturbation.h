// SPDX-License-Identifier: Apache-2.0
// The noise added on purpose, so that training leaves saddle points.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/spec.h"
#include "common/codec/codec.h"
#include "common/random/counter.h"

namespace gradwire {

struct Perturbation {
  enum class Kind {
    kNone,
    kGaussian,  // every step, isotropic, on the gradient
    kSphere,    // every step, uniform on the sphere of radius std sqrt(dimension), on the gradient
    kOnDemand,  // uniform in a ball, on the parameters, where the gradient is small
  };
  Kind kind = Kind::kNone;

  // Gaussian, sphere: the standard deviation per coordinate, in gradient units (Jin et al. 2021
  // write r/sqrt(d) for it).
  float std = 0;

  // On demand (Jin et al. 2017): when the aggregate's norm, in gradient units, is at most
  // `threshold` and no perturbation was made for `wait` steps.  Parameters that have not moved by
  // `escape` within `wait` steps of a perturbation were at no strict saddle (algorithms.md 2).
  double radius = 0;
  double threshold = 0;
  uint64_t wait = 0;
  double escape = 0;  // 0: no test

  bool every_step() const { return kind == Kind::kGaussian || kind == Kind::kSphere; }
};

struct PerturbationEntry {
  const char* name;
  const char* summary;
  const char* source;
  const std::vector<SpecParameter>& (*parameters)();
  absl::StatusOr<Perturbation> (*make)(const SpecValues& values);
};

absl::Span<const PerturbationEntry> PerturbationRegistry();

// From "gaussian:std=0.01".  InvalidArgument names what is wrong and what is allowed.
absl::StatusOr<Perturbation> MakePerturbation(absl::string_view spec);

// values[i] += scale * (standard normal i of (seed, purpose, step, block)).  The same noise at
// every worker, so that its mean is itself.
void AddNormals(const BlockKey& key, Purpose purpose, float scale, absl::Span<float> values);

// The sum of the squares of the block's standard normals, in double, in index order.
double SquaredNormals(const BlockKey& key, Purpose purpose);

}  // namespace gradwire
