// SPDX-License-Identifier: Apache-2.0
// Implementation of byte_codes.h: Highway, and the scalar reference at the end.
#include "common/kernels/byte_codes.h"

#include <algorithm>

#include "common/kernels/simd_targets.h"
#include "common/kernels/target.h"

#ifndef GRADWIRE_COMMON_KERNELS_BYTE_CODES_CONSTANTS_
#define GRADWIRE_COMMON_KERNELS_BYTE_CODES_CONSTANTS_
namespace gradwire {
namespace {

constexpr float kGreatestCode = 127.0f;
// 1.5 * 2^23: a small float added to it keeps no bits behind the point, and is rounded to nearest,
// ties to even.
constexpr float kRounder = 12582912.0f;

}  // namespace
}  // namespace gradwire
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/kernels/byte_codes.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Needs the two above.
#include "common/kernels/loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gradwire {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void RoundToBytesSimd(const float* x, float scale, int8_t* codes, size_t n) {
  ForEachVector(n, [=](auto d, size_t i) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> di;
    const hn::Rebind<int8_t, decltype(d)> d8;
    const auto rounder = hn::Set(d, kRounder);
    const auto limit = hn::Set(d, kGreatestCode);
    const auto quotient = hn::Div(hn::LoadU(d, x + i), hn::Set(d, scale));
    const auto clamped = hn::Max(hn::Min(quotient, limit), hn::Neg(limit));
    const auto rounded = hn::Sub(hn::Add(clamped, rounder), rounder);
    hn::StoreU(hn::DemoteTo(d8, hn::ConvertTo(di, rounded)), d8, codes + i);
  });
}

void ScaleBytesSimd(const int8_t* codes, float scale, float* out, size_t n) {
  ForEachVector(n, [=](auto d, size_t i) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> di;
    const hn::Rebind<int8_t, decltype(d)> d8;
    const auto wide = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, codes + i)));
    hn::StoreU(hn::Mul(wide, hn::Set(d, scale)), d, out + i);
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace gradwire
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire {
namespace {

HWY_EXPORT(RoundToBytesSimd);
HWY_EXPORT(ScaleBytesSimd);

}  // namespace

void RoundToBytes(const float* x, float scale, int8_t* codes, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(RoundToBytesSimd)(x, scale, codes, n);
  for (size_t i = 0; i < n; ++i) {
    const float clamped = std::clamp(x[i] / scale, -kGreatestCode, kGreatestCode);
    codes[i] = static_cast<int8_t>((clamped + kRounder) - kRounder);
  }
}

void ScaleBytes(const int8_t* codes, float scale, float* out, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(ScaleBytesSimd)(codes, scale, out, n);
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<float>(codes[i]) * scale;
}

}  // namespace gradwire
#endif  // HWY_ONCE
