// SPDX-License-Identifier: Apache-2.0
// Implementation of signs.h: Highway, and the scalar reference at the end.
#include "common/kernels/signs.h"

#include <cmath>

#include "common/kernels/simd_targets.h"
#include "common/kernels/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/kernels/signs.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace gradwire {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A byte's worth: one vector of eight lanes, or two of four.
using Lanes = hn::CappedTag<float, 8>;

void PackSignsSimd(const float* x, uint8_t* bits, size_t bytes) {
  const Lanes d;
  for (size_t byte = 0; byte < bytes; ++byte) {
    unsigned all = 0;
    for (size_t lane = 0; lane < 8; lane += hn::Lanes(d)) {
      uint8_t some = 0;
      hn::StoreMaskBits(d, hn::Lt(hn::LoadU(d, x + 8 * byte + lane), hn::Zero(d)), &some);
      all |= static_cast<unsigned>(some) << lane;
    }
    bits[byte] = static_cast<uint8_t>(all);
  }
}

void PackSignsTakeScaleSimd(float scale, float* x, uint8_t* bits, size_t bytes) {
  const Lanes d;
  for (size_t byte = 0; byte < bytes; ++byte) {
    unsigned all = 0;
    for (size_t lane = 0; lane < 8; lane += hn::Lanes(d)) {
      float* const at = x + 8 * byte + lane;
      const auto values = hn::LoadU(d, at);
      const auto below = hn::Lt(values, hn::Zero(d));
      uint8_t some = 0;
      hn::StoreMaskBits(d, below, &some);
      all |= static_cast<unsigned>(some) << lane;
      const auto sent = hn::IfThenElse(below, hn::Set(d, -scale), hn::Set(d, scale));
      hn::StoreU(hn::Sub(values, sent), d, at);
    }
    bits[byte] = static_cast<uint8_t>(all);
  }
}

// Adds as the scalar loop below does: value i to partial sum i % 16.
void SumBySignSimd(const float* x, size_t n, double* above, double* below, size_t* count) {
  const hn::CappedTag<double, 8> d;
  const hn::Rebind<float, decltype(d)> half;
  const size_t lanes = hn::Lanes(d);
  for (size_t lane = 0; lane < 16; lane += lanes) {
    auto sum_above = hn::Zero(d);
    auto sum_below = hn::Zero(d);
    for (size_t i = lane; i < n; i += 16) {
      const auto narrow = hn::LoadU(half, x + i);
      *count += hn::CountTrue(half, hn::Lt(narrow, hn::Zero(half)));
      const auto value = hn::PromoteTo(d, narrow);
      const auto magnitude = hn::Abs(value);
      const auto one_half = hn::Set(d, 0.5);
      sum_above = hn::Add(sum_above, hn::Mul(one_half, hn::Add(magnitude, value)));
      sum_below = hn::Add(sum_below, hn::Mul(one_half, hn::Sub(magnitude, value)));
    }
    hn::StoreU(sum_above, d, above + lane);
    hn::StoreU(sum_below, d, below + lane);
  }
}

void UnpackSignsSimd(const uint8_t* bits, float above, float below, float* out, size_t bytes) {
  const Lanes d;
  for (size_t byte = 0; byte < bytes; ++byte) {
    for (size_t lane = 0; lane < 8; lane += hn::Lanes(d)) {
      // Highway reads eight bytes of mask whatever the number of lanes.
      const uint8_t some[8] = {static_cast<uint8_t>(bits[byte] >> lane)};
      const auto values =
          hn::IfThenElse(hn::LoadMaskBits(d, some), hn::Set(d, below), hn::Set(d, above));
      hn::StoreU(values, d, out + 8 * byte + lane);
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace gradwire
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire {
namespace {

HWY_EXPORT(PackSignsSimd);
HWY_EXPORT(PackSignsTakeScaleSimd);
HWY_EXPORT(SumBySignSimd);
HWY_EXPORT(UnpackSignsSimd);

}  // namespace

void PackSigns(const float* x, uint8_t* bits, size_t n) {
  size_t i = 0;
  if (!UseScalarKernels()) {
    HWY_DYNAMIC_DISPATCH(PackSignsSimd)(x, bits, n / 8);
    i = n / 8 * 8;
  }
  for (; i < n; ++i) {
    if (i % 8 == 0) bits[i / 8] = 0;
    if (x[i] < 0) bits[i / 8] = static_cast<uint8_t>(bits[i / 8] | 1u << i % 8);
  }
}

void PackSignsTakeScale(float scale, float* x, uint8_t* bits, size_t n) {
  size_t i = 0;
  if (!UseScalarKernels()) {
    HWY_DYNAMIC_DISPATCH(PackSignsTakeScaleSimd)(scale, x, bits, n / 8);
    i = n / 8 * 8;
  }
  for (; i < n; ++i) {
    if (i % 8 == 0) bits[i / 8] = 0;
    const bool below = x[i] < 0;
    if (below) bits[i / 8] = static_cast<uint8_t>(bits[i / 8] | 1u << i % 8);
    x[i] = x[i] - (below ? -scale : scale);
  }
}

void UnpackSigns(const uint8_t* bits, float above, float below, float* out, size_t n) {
  size_t i = 0;
  if (!UseScalarKernels()) {
    HWY_DYNAMIC_DISPATCH(UnpackSignsSimd)(bits, above, below, out, n / 8);
    i = n / 8 * 8;
  }
  for (; i < n; ++i) out[i] = (bits[i / 8] >> i % 8 & 1) != 0 ? below : above;
}

SignSums SumBySign(const float* x, size_t n) {
  constexpr size_t kLanes = 16;
  double above[kLanes] = {};
  double below[kLanes] = {};
  SignSums sums;
  // Half of |x| + x is x or zero, and exact: no branch, which would be taken at random.
  const auto add = [&](size_t i, size_t lane) {
    const double value = x[i];
    above[lane] += 0.5 * (std::fabs(value) + value);
    below[lane] += 0.5 * (std::fabs(value) - value);
    sums.count_below += value < 0 ? 1 : 0;
  };
  size_t i = 0;
  if (!UseScalarKernels()) {
    i = n / kLanes * kLanes;
    HWY_DYNAMIC_DISPATCH(SumBySignSimd)(x, i, above, below, &sums.count_below);
  }
  for (; i < n; ++i) add(i, i % kLanes);
  for (size_t lane = 0; lane < kLanes; ++lane) {
    sums.above += above[lane];
    sums.below += below[lane];
  }
  return sums;
}

}  // namespace gradwire
#endif  // HWY_ONCE
