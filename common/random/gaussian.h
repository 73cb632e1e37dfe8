// SPDX-License-Identifier: Apache-2.0
// Gaussian noise from counter-based words, the same bits on every machine.
#pragma once

#include "absl/types/span.h"
#include "common/random/counter.h"

namespace gradwire {

// out[i] = standard normal number i of `key` (Box-Muller on our own polynomials:
// no libm; see common/kernels/box_muller.h).  Normals 2j and 2j+1 are made of words 2j
// and 2j+1 of `key`.  Normal i does not depend on out.size().  Thread-safe.
void FillGaussians(const RandomKey& key, absl::Span<float> out);

}  // namespace gradwire
