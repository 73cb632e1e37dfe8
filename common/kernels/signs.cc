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
  // Half of |x| + x is x or zero, and exact: no branch, which would be taken at random.
  const auto add = [&](size_t i, size_t lane) {
    const double value = x[i];
    above[lane] += 0.5 * (std::fabs(value) + value);
    below[lane] += 0.5 * (std::fabs(value) - value);
  };
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) add(i + lane, lane);
  }
  for (; i < n; ++i) add(i, i % kLanes);
  SignSums sums;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    sums.above += above[lane];
    sums.below += below[lane];
  }
  for (i = 0; i < n; ++i) sums.count_below += x[i] < 0 ? 1 : 0;
  return sums;
}

}  // namespace gradwire
#endif  // HWY_ONCE
