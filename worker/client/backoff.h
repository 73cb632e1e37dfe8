// SPDX-License-Identifier: Apache-2.0
// How long to wait before the next try: exponential, jittered, bounded.
#pragma once

#include <algorithm>
#include <random>

#include "absl/time/time.h"

namespace gradwire {

// Not thread-safe.  Randomness here never reaches a gradient: it only spreads workers that lost
// the same server at the same moment.
class Backoff {
 public:
  static constexpr absl::Duration kFirst = absl::Milliseconds(100);
  static constexpr absl::Duration kMax = absl::Seconds(5);

  Backoff() : random_(std::random_device{}()) {}

  // Uniform in [delay/2, delay], where delay doubles from kFirst to kMax.
  absl::Duration Next() {
    const absl::Duration delay = next_;
    next_ = std::min(2 * next_, kMax);
    return delay * std::uniform_real_distribution<double>(0.5, 1.0)(random_);
  }

  void Reset() { next_ = kFirst; }

 private:
  std::mt19937_64 random_;
  absl::Duration next_ = kFirst;
};

}  // namespace gradwire
