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

// A vector of the parameters' length, or one number, that an optimizer remembers.
struct StateVector {
  std::string name;
  float initial = 0;  // of every value
};
struct StateScalar {
  std::string name;
  double initial = 0;
};

struct StepContext {
  float learning_rate = 0;
  uint64_t applied = 0;            // updates applied before this one; 0: first use of the state
  Units units = Units::kGradient;  // of the update that is applied
  BlockKey key = {};               // of the block, for optimizers that draw noise
  absl::Span<const double> scalars = {};  // after BeginStep
};

// Holds no state of its own: what it remembers is kept by the replica, and is part of
// snapshots and of the replica's hash.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // kUpdate when the update is only subtracted: then residuals need no rescaling when the
  // learning rate changes.  Such an optimizer takes updates in either unit, others kGradient only.
  virtual Units units() const = 0;
  virtual std::vector<StateVector> state_vectors() const { return {}; }
  virtual std::vector<StateScalar> state_scalars() const { return {}; }
  virtual float learning_rate() const = 0;  // the base rate, before any schedule

  // True when a moving average of the gradient itself is kept: it takes the bursts in which
  // random_k delivers a coordinate for a signal.
  virtual bool has_first_moment() const { return false; }

  // True when Apply adds random numbers of its own, as many for a small update as for a large one.
  virtual bool draws_noise() const { return false; }

  // Once a step, before the blocks: running products such as beta^t (libm's pow has other
  // bits on other machines).
  virtual void BeginStep(absl::Span<double> /*scalars*/) const {}

  // Applies one block of an update to its part of parameters and state
  // (state[i] has parameters.size() values).  Thread-safe for different blocks.
  virtual void Apply(const StepContext& context, const BlockValues& update,
                     absl::Span<float> parameters,
                     absl::Span<const absl::Span<float>> state) const = 0;
};

}  // namespace gradwire
