// SPDX-License-Identifier: Apache-2.0
// The time, as a dependency: tests bring their own and never sleep.
#pragma once

#include <chrono>

#include "absl/time/time.h"

namespace gradwire {

class Clock {
 public:
  virtual ~Clock() = default;

  // Time since an arbitrary start; never goes backwards.  Thread-safe.
  virtual absl::Duration Now() const = 0;
};

class SteadyClock final : public Clock {
 public:
  absl::Duration Now() const override {
    return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  }
};

}  // namespace gradwire
