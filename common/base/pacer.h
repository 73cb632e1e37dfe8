// SPDX-License-Identifier: Apache-2.0
// A bound on bytes per second (a token bucket).
#pragma once

#include <algorithm>
#include <cstddef>

#include "absl/time/time.h"

namespace gradwire {

// Whoever asks Delay before every Take takes in any time T at most T times the rate, and `burst`
// and one Take more.  Not thread-safe; times are those of a Clock.
class Pacer {
 public:
  // A rate of 0: no bound.
  Pacer(double bytes_per_second, size_t burst)
      : bytes_per_second_(bytes_per_second), burst_(TimeOf(burst)) {}

  // Until the next may be taken; zero: now.
  absl::Duration Delay(absl::Duration now) const {
    return std::max(free_at_ - now, absl::ZeroDuration());
  }
  void Take(size_t bytes, absl::Duration now) {
    free_at_ = std::max(free_at_, now - burst_) + TimeOf(bytes);
  }

 private:
  absl::Duration TimeOf(size_t bytes) const {
    if (bytes_per_second_ <= 0) return absl::ZeroDuration();
    return absl::Seconds(static_cast<double>(bytes) / bytes_per_second_);
  }

  const double bytes_per_second_;
  const absl::Duration burst_;
  absl::Duration free_at_ = -absl::InfiniteDuration();
};

}  // namespace gradwire
