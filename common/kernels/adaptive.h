// SPDX-License-Identifier: Apache-2.0
// One step of the optimizers that scale every coordinate by the size of its gradients,
// over plain arrays: the loops below `adagrad`, `rmsprop`, `adadelta`, `adam`, `adamw`, `ftml`.
//
// For every i, rounded after every operation, in the order that the formulas stand in, which
// is that of torch.optim without fused operations.  In all of them
//   g = gradient[i] + weight_decay * parameters[i]      (gradient[i] when weight_decay is 0)
// A field "1 - x" is x's complement computed in double and rounded once, as torch's.
// Arrays have n values, any alignment, no overlap.
#pragma once

#include <cstddef>

namespace gradwire {

//   sum[i]        = sum[i] + g * g
//   parameters[i] = parameters[i] - (learning_rate * g) / (sqrt(sum[i]) + epsilon)
struct AdagradParameters {
  float learning_rate = 0;  // after its decay
  float epsilon = 0;
  float weight_decay = 0;
};
void AdagradStep(const AdagradParameters& adagrad, const float* gradient, float* sum,
                 float* parameters, size_t n);

//   v = square_average[i]   = alpha * square_average[i] + ((1 - alpha) * g) * g
//   m = gradient_average[i] = alpha * gradient_average[i] + (1 - alpha) * g
//   d = sqrt(v) + epsilon, or sqrt(max(v - m * m, 0)) + epsilon when gradient_average is given
//   momentum_buffer[i] = momentum * momentum_buffer[i] + g / d
//   parameters[i]      = parameters[i] - learning_rate * momentum_buffer[i]
// and without momentum_buffer
//   parameters[i]      = parameters[i] - (learning_rate * g) / d
// The limit 0 is ours: v - m * m can round below it, which torch makes NaN.
struct RmspropParameters {
  float learning_rate = 0;
  float alpha = 0;
  float one_minus_alpha = 0;
  float epsilon = 0;
  float weight_decay = 0;
  float momentum = 0;
};
struct RmspropState {
  float* square_average = nullptr;
  float* gradient_average = nullptr;  // null when not centered
  float* momentum_buffer = nullptr;   // null without momentum
};
void RmspropStep(const RmspropParameters& rmsprop, const float* gradient, const RmspropState& state,
                 float* parameters, size_t n);

//   square_average[i] = rho * square_average[i] + ((1 - rho) * g) * g
//   delta             = sqrt(delta_average[i] + epsilon) / sqrt(square_average[i] + epsilon) * g
//   delta_average[i]  = rho * delta_average[i] + ((1 - rho) * delta) * delta
//   parameters[i]     = parameters[i] - learning_rate * delta
struct AdadeltaParameters {
  float learning_rate = 0;
  float rho = 0;
  float one_minus_rho = 0;
  float epsilon = 0;
  float weight_decay = 0;
};
void AdadeltaStep(const AdadeltaParameters& adadelta, const float* gradient, float* square_average,
                  float* delta_average, float* parameters, size_t n);

//   first[i]  = beta1 * first[i] + (1 - beta1) * g
//   second[i] = beta2 * second[i] + ((1 - beta2) * g) * g
//   v         = second[i], or max_second[i] = max(max_second[i], second[i]) when it is given
//   parameters[i] = keep * parameters[i]
//                   - (step_size * first[i]) / (sqrt(v) / second_correction + epsilon)
struct AdamParameters {
  float step_size = 0;          // learning rate / (1 - beta1^t)
  float second_correction = 1;  // sqrt(1 - beta2^t)
  float keep = 1;               // 1 - learning rate * decoupled decay
  float beta1 = 0;
  float one_minus_beta1 = 0;
  float beta2 = 0;
  float one_minus_beta2 = 0;
  float epsilon = 0;
  float weight_decay = 0;
};
struct AdamState {
  float* first = nullptr;
  float* second = nullptr;
  float* max_second = nullptr;  // null without AMSGrad
};
void AdamStep(const AdamParameters& adam, const float* gradient, const AdamState& state,
              float* parameters, size_t n);

//   second[i]     = beta2 * second[i] + ((1 - beta2) * gradient[i]) * gradient[i]
//   parameters[i] = parameters[i]
//                   - (step_size * gradient[i]) / (sqrt(second[i] / second_correction) + epsilon)
struct FtmlParameters {
  float step_size = 0;          // learning rate * (1 - beta1) / (1 - beta1^t)
  float second_correction = 1;  // 1 - beta2^t
  float beta2 = 0;
  float one_minus_beta2 = 0;
  float epsilon = 0;
};
void FtmlStep(const FtmlParameters& ftml, const float* gradient, float* second, float* parameters,
              size_t n);

}  // namespace gradwire
