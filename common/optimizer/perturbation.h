// SPDX-License-Identifier: Apache-2.0
// The noise added to gradients on purpose, so that training leaves saddle points.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/codec/codec.h"

namespace gradwire {

// "none", or "gaussian:std=0.01": isotropic, `std` is the standard deviation per
// coordinate, in gradient units (Jin et al. 2021 write r/sqrt(d) for it).
struct Perturbation {
  float std = 0;  // 0: none

  // gradient[i] += std * (standard normal i of (seed, kPerturbation, step, block)).
  // The same noise at every worker, so that its mean is itself.
  void AddTo(const BlockKey& key, absl::Span<float> gradient) const;
};

absl::StatusOr<Perturbation> MakePerturbation(absl::string_view spec);

}  // namespace gradwire
