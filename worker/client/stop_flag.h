// SPDX-License-Identifier: Apache-2.0
// A request to stop, from a signal handler or another thread.
#pragma once

#include <algorithm>
#include <atomic>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

namespace gradwire {

// Thread-safe.  An atomic and not a condition, so that Request may be called from a signal
// handler; the price is that waits look at it every kSlice.
class StopFlag {
 public:
  static constexpr absl::Duration kSlice = absl::Milliseconds(50);

  // `signal` is what requested() then returns; not 0.
  void Request(int signal) { signal_.store(signal, std::memory_order_relaxed); }
  // 0: nobody asked.
  int requested() const { return signal_.load(std::memory_order_relaxed); }

  // Waits for `duration`, or until a stop is requested: then false.
  bool Sleep(absl::Duration duration) const {
    const SteadyClock clock;
    const absl::Duration end = clock.Now() + duration;
    while (requested() == 0) {
      const absl::Duration left = end - clock.Now();
      if (left <= absl::ZeroDuration()) return true;
      absl::SleepFor(std::min(left, kSlice));
    }
    return false;
  }

 private:
  static_assert(std::atomic<int>::is_always_lock_free, "Request is called from signal handlers");
  std::atomic<int> signal_{0};
};

}  // namespace gradwire
