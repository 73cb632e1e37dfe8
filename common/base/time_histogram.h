// SPDX-License-Identifier: Apache-2.0
// How long something took, counted in fixed ranges: cheap enough for every step.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace gradwire {

// Thread-safe.  What is read while something is added may lack it in part.
class TimeHistogram {
 public:
  // Upper ends of the ranges in seconds, each included; what is longer is in a last range.
  static constexpr std::array<double, 14> kBounds = {1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2,
                                                     0.1,  0.3,  1,    3,    10,   30,   100};

  // Negative times count as none.
  void Add(absl::Duration time) {
    const int64_t nanoseconds = absl::ToInt64Nanoseconds(time);
    const double seconds = static_cast<double>(nanoseconds < 0 ? 0 : nanoseconds) / 1e9;
    size_t range = 0;
    while (range < kBounds.size() && seconds > kBounds[range]) ++range;
    counts_[range].fetch_add(1, std::memory_order_relaxed);
    nanoseconds_.fetch_add(nanoseconds < 0 ? 0 : static_cast<uint64_t>(nanoseconds),
                           std::memory_order_relaxed);
  }

  struct Values {
    std::array<uint64_t, kBounds.size() + 1> counts = {};  // by range
    uint64_t count = 0;                                    // of all
    double seconds = 0;                                    // their sum
  };
  Values values() const {
    Values values;
    for (size_t i = 0; i < counts_.size(); ++i) {
      values.counts[i] = counts_[i].load(std::memory_order_relaxed);
      values.count += values.counts[i];
    }
    values.seconds = static_cast<double>(nanoseconds_.load(std::memory_order_relaxed)) * 1e-9;
    return values;
  }

 private:
  std::array<std::atomic<uint64_t>, kBounds.size() + 1> counts_ = {};
  std::atomic<uint64_t> nanoseconds_{0};
};

// Time since it was made.
class Stopwatch {
 public:
  absl::Duration elapsed() const { return SteadyClock().Now() - begin_; }

 private:
  absl::Duration begin_ = SteadyClock().Now();
};

}  // namespace gradwire
