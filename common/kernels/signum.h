// SPDX-License-Identifier: Apache-2.0
// One step of SignSGD with or without momentum (Bernstein et al. 2018), over plain arrays:
// the loop below the optimizer `signum`.
#pragma once

#include <cstddef>

namespace gradwire {

struct SignumParameters {
  float learning_rate = 0;
  float momentum = 0;
  float one_minus_momentum = 1;
  float weight_decay = 0;  // into the momentum
  float decay = 0;         // learning rate * decoupled decay; 1 - it would round worse
};

// For every i, rounded after every operation, in this order (MXNet's Signum):
//   g = gradient[i] + weight_decay * parameters[i]   (gradient[i] when weight_decay is 0)
//   m = momentum_buffer[i] = momentum * momentum_buffer[i] + (1 - momentum) * g
//   parameters[i] = parameters[i] - (decay * parameters[i] + learning_rate * sign(m))
// where sign(0) = sign(NaN) = 0.
// With a null `momentum_buffer` m is g.  Arrays have n values, any alignment, no overlap.
void SignumStep(const SignumParameters& signum, const float* gradient, float* momentum_buffer,
                float* parameters, size_t n);

}  // namespace gradwire
