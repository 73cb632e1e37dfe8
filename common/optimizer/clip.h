// SPDX-License-Identifier: Apache-2.0
// Limits on the aggregate, so that one bad step does not throw training back.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwire {

// "none" | "norm:1" | "value:0.5", in gradient units.  norm: an aggregate of greater Euclidean
// norm, over all coordinates, is scaled down to it (torch.nn.utils.clip_grad_norm_); value: every
// coordinate is cut to [-limit, limit] (clip_grad_value_).  With error feedback an aggregate holds
// what residuals let go of, which may be many steps' worth of a coordinate.
struct Clip {
  enum class Kind { kNone, kNorm, kValue };
  Kind kind = Kind::kNone;
  float limit = 0;
};

absl::StatusOr<Clip> ParseClip(absl::string_view spec);

// What an aggregate of this norm is multiplied by: min(1, limit / (norm + 1e-6)), as in PyTorch.
float ClipFactor(float limit, double norm);

}  // namespace gradwire
