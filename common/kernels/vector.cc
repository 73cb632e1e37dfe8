// SPDX-License-Identifier: Apache-2.0
// Implementation of vector.h: Highway, and the scalar reference at the end.
#include "common/kernels/vector.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "common/kernels/simd_targets.h"
#include "common/kernels/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/kernels/vector.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Needs the two above.
#include "common/kernels/loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gradwire {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void AddSimd(const float* x, float* sum, size_t n) {
  ForEachVector(n, [=](auto d, size_t i) HWY_ATTR {
    hn::StoreU(hn::Add(hn::LoadU(d, sum + i), hn::LoadU(d, x + i)), d, sum + i);
  });
}

void SubtractSimd(const float* x, float* y, size_t n) {
  ForEachVector(n, [=](auto d, size_t i) HWY_ATTR {
    hn::StoreU(hn::Sub(hn::LoadU(d, y + i), hn::LoadU(d, x + i)), d, y + i);
  });
}

void AddScaledSimd(float scale, const float* x, float* sum, size_t n) {
  ForEachVector(n, [=](auto d, size_t i) HWY_ATTR {
    const auto scaled = hn::Mul(hn::Set(d, scale), hn::LoadU(d, x + i));
    hn::StoreU(hn::Add(hn::LoadU(d, sum + i), scaled), d, sum + i);
  });
}

void DivideSimd(const float* x, float divisor, float* out, size_t n) {
  ForEachVector(n, [=](auto d, size_t i) HWY_ATTR {
    hn::StoreU(hn::Div(hn::LoadU(d, x + i), hn::Set(d, divisor)), d, out + i);
  });
}

// Mask of lanes whose exponent is all ones: NaN and Inf.
template <class D, class V>
HWY_INLINE auto NonFiniteLanes(D d, V v) {
  const hn::RebindToUnsigned<D> du;
  const auto exponent = hn::Set(du, 0x7F800000u);
  return hn::RebindMask(d, hn::Eq(hn::And(hn::BitCast(du, v), exponent), exponent));
}

size_t FirstNonFiniteSimd(const float* x, size_t n) {
  return FindFirstVector(
      n, [=](auto d, size_t i) HWY_ATTR { return NonFiniteLanes(d, hn::LoadU(d, x + i)); });
}

// As unsigned numbers, magnitudes have the order of floats, and NaN is above all.
uint32_t MaxMagnitudeSimd(const float* x, size_t n) {
  const hn::ScalableTag<uint32_t> d;
  const size_t lanes = hn::Lanes(d);
  const auto magnitude = hn::Set(d, 0x7FFFFFFFu);
  auto most = hn::Zero(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto bits = hn::BitCast(d, hn::LoadU(hn::RebindToFloat<decltype(d)>(), x + i));
    most = hn::Max(most, hn::And(bits, magnitude));
  }
  uint32_t result = hn::GetLane(hn::MaxOfLanes(d, most));
  for (; i < n; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[i]) & 0x7FFFFFFFu;
    result = bits > result ? bits : result;
  }
  return result;
}

size_t FirstNonFiniteSumSimd(const float* sum, float scale, const float* x, size_t n) {
  return FindFirstVector(n, [=](auto d, size_t i) HWY_ATTR {
    const auto scaled = hn::Mul(hn::Set(d, scale), hn::LoadU(d, x + i));
    return NonFiniteLanes(d, hn::Add(hn::LoadU(d, sum + i), scaled));
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace gradwire
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire {
namespace {

HWY_EXPORT(AddSimd);
HWY_EXPORT(SubtractSimd);
HWY_EXPORT(AddScaledSimd);
HWY_EXPORT(DivideSimd);
HWY_EXPORT(FirstNonFiniteSimd);
HWY_EXPORT(FirstNonFiniteSumSimd);
HWY_EXPORT(MaxMagnitudeSimd);

bool NonFinite(float x) { return (std::bit_cast<uint32_t>(x) & 0x7F800000u) == 0x7F800000u; }

}  // namespace

void Add(const float* x, float* sum, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(AddSimd)(x, sum, n);
  for (size_t i = 0; i < n; ++i) sum[i] = sum[i] + x[i];
}

void Subtract(const float* x, float* y, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(SubtractSimd)(x, y, n);
  for (size_t i = 0; i < n; ++i) y[i] = y[i] - x[i];
}

void AddScaled(float scale, const float* x, float* sum, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(AddScaledSimd)(scale, x, sum, n);
  for (size_t i = 0; i < n; ++i) {
    const float scaled = scale * x[i];
    sum[i] = sum[i] + scaled;
  }
}

void Divide(const float* x, float divisor, float* out, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(DivideSimd)(x, divisor, out, n);
  for (size_t i = 0; i < n; ++i) out[i] = x[i] / divisor;
}

size_t FirstNonFinite(const float* x, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(FirstNonFiniteSimd)(x, n);
  size_t i = 0;
  while (i < n && !NonFinite(x[i])) ++i;
  return i;
}

float MaxMagnitude(const float* x, size_t n) {
  constexpr uint32_t kInfinity = 0x7F800000u;
  uint32_t most = 0;
  if (!UseScalarKernels()) {
    most = HWY_DYNAMIC_DISPATCH(MaxMagnitudeSimd)(x, n);
  } else {
    for (size_t i = 0; i < n; ++i) {
      most = std::max(most, std::bit_cast<uint32_t>(x[i]) & 0x7FFFFFFFu);
    }
  }
  return std::bit_cast<float>(std::min(most, kInfinity));
}

size_t FirstNonFiniteSum(const float* sum, float scale, const float* x, size_t n) {
  if (!UseScalarKernels()) {
    return HWY_DYNAMIC_DISPATCH(FirstNonFiniteSumSimd)(sum, scale, x, n);
  }
  size_t i = 0;
  for (; i < n; ++i) {
    const float scaled = scale * x[i];
    if (NonFinite(sum[i] + scaled)) break;
  }
  return i;
}

namespace {

// Sixteen independent chains: the compiler may use vectors without another order.
template <typename Value>
double SumInLanes(size_t n, Value value) {
  constexpr size_t kLanes = 16;
  double lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += value(i + lane);
  }
  for (; i < n; ++i) lanes[i % kLanes] += value(i);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

double SumOfSquares(const float* x, size_t n) {
  return SumInLanes(n, [x](size_t i) { return double{x[i]} * double{x[i]}; });
}

double SquaredDistance(const float* x, const float* y, size_t n) {
  return SumInLanes(n, [x, y](size_t i) {
    const double distance = double{x[i]} - double{y[i]};
    return distance * distance;
  });
}

}  // namespace gradwire
#endif  // HWY_ONCE
