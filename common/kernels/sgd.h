// SPDX-License-Identifier: Apache-2.0
// One step of dense SGD with momentum as in PyTorch, over plain arrays: the
// loop below the optimizer `sgd`.
#pragma once

#include <cstddef>

namespace gradwire {

struct SgdParameters {
  float learning_rate = 0;
  float momentum = 0;
  float dampening = 0;     // has no effect on the first step
  float weight_decay = 0;  // coupled: added to the gradient
  bool nesterov = false;
  bool first = false;  // the first step that touches these values: the buffer starts as d
};

// For every i, rounded after every operation, in this order (torch.optim.SGD):
//   d        = gradient[i] + weight_decay * parameters[i]   (gradient[i] when weight_decay is 0)
//   buffer   = d                                            when first
//            = momentum * momentum_buffer[i] + (1 - dampening) * d   otherwise
//   d        = d + momentum * buffer when nesterov, else buffer
//   parameters[i] -= learning_rate * d
// `momentum_buffer` is null when and only when momentum is 0: then d goes
// straight into the parameters.  Arrays have n values, any alignment, no overlap.
void SgdStep(const SgdParameters& sgd, const float* gradient, float* momentum_buffer,
             float* parameters, size_t n);

}  // namespace gradwire
