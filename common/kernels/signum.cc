// SPDX-License-Identifier: Apache-2.0
// Implementation of signum.h: Highway, and the scalar reference at the end.
#include "common/kernels/signum.h"

#include "common/kernels/simd_targets.h"
#include "common/kernels/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/kernels/signum.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Needs the two above.
#include "common/kernels/loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gradwire {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void SignumStepSimd(const SignumParameters& signum, const float* gradient, float* momentum_buffer,
                    float* parameters, size_t n) {
  ForEachVector(n, [=, &signum](auto d, size_t i) HWY_ATTR {
    const auto zero = hn::Zero(d);
    const auto rate = hn::Set(d, signum.learning_rate);
    const auto old = hn::LoadU(d, parameters + i);
    auto m = hn::LoadU(d, gradient + i);
    if (signum.weight_decay != 0) m = hn::Add(m, hn::Mul(hn::Set(d, signum.weight_decay), old));
    if (momentum_buffer != nullptr) {
      const auto taken = hn::Mul(hn::Set(d, signum.one_minus_momentum), m);
      const auto buffer = hn::LoadU(d, momentum_buffer + i);
      m = hn::Add(hn::Mul(hn::Set(d, signum.momentum), buffer), taken);
      hn::StoreU(m, d, momentum_buffer + i);
    }
    const auto up = hn::IfThenElseZero(hn::Lt(m, zero), hn::Neg(rate));
    const auto step = hn::IfThenElse(hn::Gt(m, zero), rate, up);
    const auto change = hn::Add(hn::Mul(hn::Set(d, signum.decay), old), step);
    hn::StoreU(hn::Sub(old, change), d, parameters + i);
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace gradwire
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire {
namespace {

HWY_EXPORT(SignumStepSimd);

}  // namespace

void SignumStep(const SignumParameters& signum, const float* gradient, float* momentum_buffer,
                float* parameters, size_t n) {
  if (!UseScalarKernels()) {
    return HWY_DYNAMIC_DISPATCH(SignumStepSimd)(signum, gradient, momentum_buffer, parameters, n);
  }
  for (size_t i = 0; i < n; ++i) {
    float m = gradient[i];
    if (signum.weight_decay != 0) m = m + signum.weight_decay * parameters[i];
    if (momentum_buffer != nullptr) {
      m = signum.momentum * momentum_buffer[i] + signum.one_minus_momentum * m;
      momentum_buffer[i] = m;
    }
    float step = 0;
    if (m > 0) step = signum.learning_rate;
    if (m < 0) step = -signum.learning_rate;
    parameters[i] = parameters[i] - (signum.decay * parameters[i] + step);
  }
}

}  // namespace gradwire
#endif  // HWY_ONCE
