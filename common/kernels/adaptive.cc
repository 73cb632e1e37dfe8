// SPDX-License-Identifier: Apache-2.0
// Implementation of adaptive.h: Highway, and the scalar reference at the end.
#include "common/kernels/adaptive.h"

#include <cmath>

#include "common/kernels/simd_targets.h"
#include "common/kernels/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/kernels/adaptive.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Needs the two above.
#include "common/kernels/loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gradwire {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> Gradient(D d, const float* gradient, float weight_decay,
                               const float* parameters) {
  const auto g = hn::LoadU(d, gradient);
  if (weight_decay == 0) return g;
  return hn::Add(g, hn::Mul(hn::Set(d, weight_decay), hn::LoadU(d, parameters)));
}

// *average = kept * *average + taken * x
template <class D, class V>
HWY_INLINE V Average(D d, float kept, float taken, V x, float* average) {
  const V old = hn::Mul(hn::Set(d, kept), hn::LoadU(d, average));
  const V next = hn::Add(old, hn::Mul(hn::Set(d, taken), x));
  hn::StoreU(next, d, average);
  return next;
}

// *average = kept * *average + (taken * x) * x
template <class D, class V>
HWY_INLINE V SquareAverage(D d, float kept, float taken, V x, float* average) {
  const V old = hn::Mul(hn::Set(d, kept), hn::LoadU(d, average));
  const V next = hn::Add(old, hn::Mul(hn::Mul(hn::Set(d, taken), x), x));
  hn::StoreU(next, d, average);
  return next;
}

// *parameters -= (rate * x) / divisor
template <class D, class V>
HWY_INLINE void SubtractQuotient(D d, float rate, V x, V divisor, float* parameters) {
  const V change = hn::Div(hn::Mul(hn::Set(d, rate), x), divisor);
  hn::StoreU(hn::Sub(hn::LoadU(d, parameters), change), d, parameters);
}

void AdagradStepSimd(const AdagradParameters& adagrad, const float* gradient, float* sum,
                     float* parameters, size_t n) {
  ForEachVector(n, [=, &adagrad](auto d, size_t i) HWY_ATTR {
    const auto g = Gradient(d, gradient + i, adagrad.weight_decay, parameters + i);
    const auto s = hn::Add(hn::LoadU(d, sum + i), hn::Mul(g, g));
    hn::StoreU(s, d, sum + i);
    const auto divisor = hn::Add(hn::Sqrt(s), hn::Set(d, adagrad.epsilon));
    SubtractQuotient(d, adagrad.learning_rate, g, divisor, parameters + i);
  });
}

void RmspropStepSimd(const RmspropParameters& rmsprop, const float* gradient,
                     const RmspropState& state, float* parameters, size_t n) {
  ForEachVector(n, [=, &rmsprop, &state](auto d, size_t i) HWY_ATTR {
    const auto g = Gradient(d, gradient + i, rmsprop.weight_decay, parameters + i);
    auto v = SquareAverage(d, rmsprop.alpha, rmsprop.one_minus_alpha, g, state.square_average + i);
    if (state.gradient_average != nullptr) {
      const auto m =
          Average(d, rmsprop.alpha, rmsprop.one_minus_alpha, g, state.gradient_average + i);
      v = hn::Sub(v, hn::Mul(m, m));
      v = hn::IfThenElse(hn::Lt(v, hn::Zero(d)), hn::Zero(d), v);
    }
    const auto divisor = hn::Add(hn::Sqrt(v), hn::Set(d, rmsprop.epsilon));
    if (state.momentum_buffer == nullptr) {
      SubtractQuotient(d, rmsprop.learning_rate, g, divisor, parameters + i);
      return;
    }
    const auto old = hn::LoadU(d, state.momentum_buffer + i);
    const auto buffer = hn::Add(hn::Mul(hn::Set(d, rmsprop.momentum), old), hn::Div(g, divisor));
    hn::StoreU(buffer, d, state.momentum_buffer + i);
    const auto change = hn::Mul(hn::Set(d, rmsprop.learning_rate), buffer);
    hn::StoreU(hn::Sub(hn::LoadU(d, parameters + i), change), d, parameters + i);
  });
}

void AdadeltaStepSimd(const AdadeltaParameters& adadelta, const float* gradient,
                      float* square_average, float* delta_average, float* parameters, size_t n) {
  ForEachVector(n, [=, &adadelta](auto d, size_t i) HWY_ATTR {
    const auto g = Gradient(d, gradient + i, adadelta.weight_decay, parameters + i);
    const auto epsilon = hn::Set(d, adadelta.epsilon);
    const auto v = SquareAverage(d, adadelta.rho, adadelta.one_minus_rho, g, square_average + i);
    const auto u = hn::LoadU(d, delta_average + i);
    const auto ratio = hn::Div(hn::Sqrt(hn::Add(u, epsilon)), hn::Sqrt(hn::Add(v, epsilon)));
    const auto delta = hn::Mul(ratio, g);
    SquareAverage(d, adadelta.rho, adadelta.one_minus_rho, delta, delta_average + i);
    const auto change = hn::Mul(hn::Set(d, adadelta.learning_rate), delta);
    hn::StoreU(hn::Sub(hn::LoadU(d, parameters + i), change), d, parameters + i);
  });
}

void AdamStepSimd(const AdamParameters& adam, const float* gradient, const AdamState& state,
                  float* parameters, size_t n) {
  ForEachVector(n, [=, &adam, &state](auto d, size_t i) HWY_ATTR {
    const auto g = Gradient(d, gradient + i, adam.weight_decay, parameters + i);
    const auto m = Average(d, adam.beta1, adam.one_minus_beta1, g, state.first + i);
    auto v = SquareAverage(d, adam.beta2, adam.one_minus_beta2, g, state.second + i);
    if (state.max_second != nullptr) {
      const auto largest = hn::LoadU(d, state.max_second + i);
      v = hn::IfThenElse(hn::Gt(v, largest), v, largest);
      hn::StoreU(v, d, state.max_second + i);
    }
    const auto root = hn::Div(hn::Sqrt(v), hn::Set(d, adam.second_correction));
    const auto divisor = hn::Add(root, hn::Set(d, adam.epsilon));
    const auto change = hn::Div(hn::Mul(hn::Set(d, adam.step_size), m), divisor);
    const auto kept = hn::Mul(hn::Set(d, adam.keep), hn::LoadU(d, parameters + i));
    hn::StoreU(hn::Sub(kept, change), d, parameters + i);
  });
}

void FtmlStepSimd(const FtmlParameters& ftml, const float* gradient, float* second,
                  float* parameters, size_t n) {
  ForEachVector(n, [=, &ftml](auto d, size_t i) HWY_ATTR {
    const auto g = hn::LoadU(d, gradient + i);
    const auto v = SquareAverage(d, ftml.beta2, ftml.one_minus_beta2, g, second + i);
    const auto root = hn::Sqrt(hn::Div(v, hn::Set(d, ftml.second_correction)));
    const auto divisor = hn::Add(root, hn::Set(d, ftml.epsilon));
    SubtractQuotient(d, ftml.step_size, g, divisor, parameters + i);
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace gradwire
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire {
namespace {

HWY_EXPORT(AdagradStepSimd);
HWY_EXPORT(RmspropStepSimd);
HWY_EXPORT(AdadeltaStepSimd);
HWY_EXPORT(AdamStepSimd);
HWY_EXPORT(FtmlStepSimd);

float Gradient(float gradient, float weight_decay, float parameter) {
  return weight_decay == 0 ? gradient : gradient + weight_decay * parameter;
}

}  // namespace

void AdagradStep(const AdagradParameters& adagrad, const float* gradient, float* sum,
                 float* parameters, size_t n) {
  if (!UseScalarKernels()) {
    return HWY_DYNAMIC_DISPATCH(AdagradStepSimd)(adagrad, gradient, sum, parameters, n);
  }
  for (size_t i = 0; i < n; ++i) {
    const float g = Gradient(gradient[i], adagrad.weight_decay, parameters[i]);
    sum[i] = sum[i] + g * g;
    const float divisor = std::sqrt(sum[i]) + adagrad.epsilon;
    parameters[i] = parameters[i] - adagrad.learning_rate * g / divisor;
  }
}

void RmspropStep(const RmspropParameters& rmsprop, const float* gradient, const RmspropState& state,
                 float* parameters, size_t n) {
  if (!UseScalarKernels()) {
    return HWY_DYNAMIC_DISPATCH(RmspropStepSimd)(rmsprop, gradient, state, parameters, n);
  }
  for (size_t i = 0; i < n; ++i) {
    const float g = Gradient(gradient[i], rmsprop.weight_decay, parameters[i]);
    float v = rmsprop.alpha * state.square_average[i] + rmsprop.one_minus_alpha * g * g;
    state.square_average[i] = v;
    if (state.gradient_average != nullptr) {
      const float m = rmsprop.alpha * state.gradient_average[i] + rmsprop.one_minus_alpha * g;
      state.gradient_average[i] = m;
      v = v - m * m;
      if (v < 0) v = 0;
    }
    const float divisor = std::sqrt(v) + rmsprop.epsilon;
    if (state.momentum_buffer == nullptr) {
      parameters[i] = parameters[i] - rmsprop.learning_rate * g / divisor;
      continue;
    }
    const float buffer = rmsprop.momentum * state.momentum_buffer[i] + g / divisor;
    state.momentum_buffer[i] = buffer;
    parameters[i] = parameters[i] - rmsprop.learning_rate * buffer;
  }
}

void AdadeltaStep(const AdadeltaParameters& adadelta, const float* gradient, float* square_average,
                  float* delta_average, float* parameters, size_t n) {
  if (!UseScalarKernels()) {
    return HWY_DYNAMIC_DISPATCH(AdadeltaStepSimd)(adadelta, gradient, square_average, delta_average,
                                                  parameters, n);
  }
  for (size_t i = 0; i < n; ++i) {
    const float g = Gradient(gradient[i], adadelta.weight_decay, parameters[i]);
    const float v = adadelta.rho * square_average[i] + adadelta.one_minus_rho * g * g;
    square_average[i] = v;
    const float delta =
        std::sqrt(delta_average[i] + adadelta.epsilon) / std::sqrt(v + adadelta.epsilon) * g;
    delta_average[i] = adadelta.rho * delta_average[i] + adadelta.one_minus_rho * delta * delta;
    parameters[i] = parameters[i] - adadelta.learning_rate * delta;
  }
}

void AdamStep(const AdamParameters& adam, const float* gradient, const AdamState& state,
              float* parameters, size_t n) {
  if (!UseScalarKernels()) {
    return HWY_DYNAMIC_DISPATCH(AdamStepSimd)(adam, gradient, state, parameters, n);
  }
  for (size_t i = 0; i < n; ++i) {
    const float g = Gradient(gradient[i], adam.weight_decay, parameters[i]);
    const float m = adam.beta1 * state.first[i] + adam.one_minus_beta1 * g;
    state.first[i] = m;
    float v = adam.beta2 * state.second[i] + adam.one_minus_beta2 * g * g;
    state.second[i] = v;
    if (state.max_second != nullptr) {
      if (state.max_second[i] < v) state.max_second[i] = v;
      v = state.max_second[i];
    }
    const float divisor = std::sqrt(v) / adam.second_correction + adam.epsilon;
    parameters[i] = adam.keep * parameters[i] - adam.step_size * m / divisor;
  }
}

void FtmlStep(const FtmlParameters& ftml, const float* gradient, float* second, float* parameters,
              size_t n) {
  if (!UseScalarKernels()) {
    return HWY_DYNAMIC_DISPATCH(FtmlStepSimd)(ftml, gradient, second, parameters, n);
  }
  for (size_t i = 0; i < n; ++i) {
    const float g = gradient[i];
    second[i] = ftml.beta2 * second[i] + ftml.one_minus_beta2 * g * g;
    const float divisor = std::sqrt(second[i] / ftml.second_correction) + ftml.epsilon;
    parameters[i] = parameters[i] - ftml.step_size * g / divisor;
  }
}

}  // namespace gradwire
#endif  // HWY_ONCE
