// SPDX-License-Identifier: Apache-2.0
// Implementation of sgd.h: Highway, and the scalar reference at the end.
#include "common/kernels/sgd.h"

#include "common/kernels/simd_targets.h"
#include "common/kernels/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/kernels/sgd.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Needs the two above.
#include "common/kernels/loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gradwire {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// What the momentum buffer becomes.
template <class D, class V>
HWY_INLINE V NextBuffer(D tag, const SgdParameters& sgd, V d, const float* buffer) {
  if (sgd.first) return d;
  const V kept = hn::Mul(hn::Set(tag, sgd.momentum), hn::LoadU(tag, buffer));
  return hn::Add(kept, hn::Mul(hn::Set(tag, 1.0f - sgd.dampening), d));
}

void SgdStepSimd(const SgdParameters& sgd, const float* gradient, float* momentum_buffer,
                 float* parameters, size_t n) {
  ForEachVector(n, [=, &sgd](auto tag, size_t i) HWY_ATTR {
    const auto old = hn::LoadU(tag, parameters + i);
    auto d = hn::LoadU(tag, gradient + i);
    if (sgd.weight_decay != 0) d = hn::Add(d, hn::Mul(hn::Set(tag, sgd.weight_decay), old));
    if (momentum_buffer != nullptr) {
      const auto buffer = NextBuffer(tag, sgd, d, momentum_buffer + i);
      hn::StoreU(buffer, tag, momentum_buffer + i);
      d = sgd.nesterov ? hn::Add(d, hn::Mul(hn::Set(tag, sgd.momentum), buffer)) : buffer;
    }
    const auto change = hn::Mul(hn::Set(tag, sgd.learning_rate), d);
    hn::StoreU(hn::Sub(old, change), tag, parameters + i);
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace gradwire
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire {
namespace {

HWY_EXPORT(SgdStepSimd);

}  // namespace

void SgdStep(const SgdParameters& sgd, const float* gradient, float* momentum_buffer,
             float* parameters, size_t n) {
  if (!UseScalarKernels()) {
    return HWY_DYNAMIC_DISPATCH(SgdStepSimd)(sgd, gradient, momentum_buffer, parameters, n);
  }
  const float taken = 1.0f - sgd.dampening;
  for (size_t i = 0; i < n; ++i) {
    float d = gradient[i];
    if (sgd.weight_decay != 0) d = d + sgd.weight_decay * parameters[i];
    if (momentum_buffer != nullptr) {
      float& buffer = momentum_buffer[i];
      buffer = sgd.first ? d : sgd.momentum * buffer + taken * d;
      d = sgd.nesterov ? d + sgd.momentum * buffer : buffer;
    }
    parameters[i] = parameters[i] - sgd.learning_rate * d;
  }
}

}  // namespace gradwire
#endif  // HWY_ONCE
