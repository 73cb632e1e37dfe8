// SPDX-License-Identifier: Apache-2.0
// What an optimizer is: the interface that each implements in one file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/codec/codec.h"

namespace gradwire {

// What a step's payload, and the residual behind it, is measured in.
enum class Units {
  kUpdate,  // learning rate times gradient: what is subtracted from the parameters
  kGradient,
};

struct StepContext {
  float learning_rate = 0;
  uint64_t applied = 0;  // updates applied before this one; 0: first use of the state
};

// Holds no state of its own: what it remembers are `state_names().size()` vectors
// of the parameters' length, all zero at first, kept by the replica.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  virtual Units units() const = 0;
  virtual std::vector<std::string> state_names() const = 0;
  virtual float learning_rate() const = 0;  // the base rate, before any schedule

  // Applies one block of an update to its part of parameters and state
  // (state[i] has parameters.size() values).  Thread-safe for different blocks.
  virtual void Apply(const StepContext& context, const BlockValues& update,
                     absl::Span<float> parameters,
                     absl::Span<const absl::Span<float>> state) const = 0;
};

}  // namespace gradwire
