// SPDX-License-Identifier: Apache-2.0
// Implementation of casts.h: Highway, and the scalar reference at the end.
// The fp16 method is Fabian Giesen's float_to_half_fast3_rtne and half_to_float.
#include "common/kernels/casts.h"

#include <algorithm>
#include <bit>

#include "common/kernels/simd_targets.h"
#include "common/kernels/target.h"

#ifndef GRADWIRE_COMMON_KERNELS_CASTS_CONSTANTS_
#define GRADWIRE_COMMON_KERNELS_CASTS_CONSTANTS_
namespace gradwire {
namespace {

constexpr uint32_t kMagnitude = 0x7FFFFFFF;     // of a float's bits
constexpr uint32_t kInfinity = 0x7F800000;      // as a float
constexpr uint32_t kGreatestFp16 = 0x477FE000;  // 65504 as a float
constexpr uint32_t kSmallestFp16 = 0x38800000;  // 2^-14, its least normal value, as a float
constexpr uint32_t kHalf = 0x3F000000;          // 0.5, whose last bit is fp16's last denormal bit
constexpr uint32_t kRebias = (127 - 15) << 23;  // between the exponents of float and fp16

}  // namespace
}  // namespace gradwire
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/kernels/casts.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Needs the two above.
#include "common/kernels/loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gradwire {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Stores the low half of every lane.
template <class DU, class V>
HWY_INLINE void StoreLow16(DU /*du*/, V bits, uint16_t* out) {
  const hn::RebindToSigned<DU> di;
  const hn::Rebind<uint16_t, DU> d16;
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, bits)), d16, out);
}

template <class DU>
HWY_INLINE auto Load16(DU du, const uint16_t* x) {
  return hn::PromoteTo(du, hn::LoadU(hn::Rebind<uint16_t, DU>(), x));
}

// bits + half of the 16-bit format's last place, less one when that place is even.
template <int kDropped, class DU, class V>
HWY_INLINE V AddRounding(DU du, V bits) {
  const V odd = hn::And(hn::ShiftRight<kDropped>(bits), hn::Set(du, 1u));
  return hn::Add(bits, hn::Add(odd, hn::Set(du, (1u << (kDropped - 1)) - 1)));
}

void FloatToBf16Simd(const float* x, uint16_t* out, size_t n) {
  ForEachVector(n, [=](auto d, size_t i) HWY_ATTR {
    const hn::RebindToUnsigned<decltype(d)> du;
    const auto bits = hn::BitCast(du, hn::LoadU(d, x + i));
    const auto magnitude = hn::And(bits, hn::Set(du, kMagnitude));
    const auto rounded =
        hn::Min(hn::ShiftRight<16>(AddRounding<16>(du, magnitude)), hn::Set(du, uint32_t{0x7F7F}));
    const auto nan = hn::Gt(magnitude, hn::Set(du, kInfinity));
    const auto finite = hn::IfThenElse(nan, hn::Set(du, uint32_t{0x7FC0}), rounded);
    const auto sign = hn::ShiftLeft<15>(hn::ShiftRight<31>(bits));
    StoreLow16(du, hn::Or(finite, sign), out + i);
  });
}

void FloatToFp16Simd(const float* x, uint16_t* out, size_t n) {
  ForEachVector(n, [=](auto d, size_t i) HWY_ATTR {
    const hn::RebindToUnsigned<decltype(d)> du;
    const auto bits = hn::BitCast(du, hn::LoadU(d, x + i));
    const auto magnitude = hn::And(bits, hn::Set(du, kMagnitude));
    const auto clamped = hn::Min(magnitude, hn::Set(du, kGreatestFp16));
    const auto half = hn::Set(du, kHalf);
    const auto aligned = hn::Add(hn::BitCast(d, clamped), hn::BitCast(d, half));
    const auto denormal = hn::Sub(hn::BitCast(du, aligned), half);
    const auto normal =
        hn::ShiftRight<13>(hn::Sub(AddRounding<13>(du, clamped), hn::Set(du, kRebias)));
    const auto is_denormal = hn::Lt(clamped, hn::Set(du, kSmallestFp16));
    const auto nan = hn::Gt(magnitude, hn::Set(du, kInfinity));
    const auto finite = hn::IfThenElse(is_denormal, denormal, normal);
    const auto sign = hn::ShiftLeft<15>(hn::ShiftRight<31>(bits));
    const auto kept = hn::IfThenElse(nan, hn::Set(du, uint32_t{0x7E00}), finite);
    StoreLow16(du, hn::Or(kept, sign), out + i);
  });
}

void Bf16ToFloatSimd(const uint16_t* x, float* out, size_t n) {
  ForEachVector(n, [=](auto d, size_t i) HWY_ATTR {
    const hn::RebindToUnsigned<decltype(d)> du;
    hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(Load16(du, x + i))), d, out + i);
  });
}

void Fp16ToFloatSimd(const uint16_t* x, float* out, size_t n) {
  ForEachVector(n, [=](auto d, size_t i) HWY_ATTR {
    const hn::RebindToUnsigned<decltype(d)> du;
    const auto half = Load16(du, x + i);
    const auto shifted = hn::ShiftLeft<13>(hn::And(half, hn::Set(du, uint32_t{0x7FFF})));
    const auto rebias = hn::Set(du, kRebias);
    const auto normal = hn::Add(shifted, rebias);
    const auto infinite = hn::Gt(shifted, hn::Set(du, uint32_t{(0x7C00 << 13) - 1}));
    const auto wide = hn::IfThenElse(infinite, hn::Add(normal, rebias), normal);
    // A denormal's fraction under the least normal exponent, less that exponent's one.
    const auto smallest = hn::Set(du, kSmallestFp16);
    const auto denormal =
        hn::Sub(hn::BitCast(d, hn::Add(shifted, smallest)), hn::BitCast(d, smallest));
    const auto is_denormal = hn::Lt(shifted, hn::Set(du, uint32_t{0x0400 << 13}));
    const auto value = hn::IfThenElse(is_denormal, hn::BitCast(du, denormal), wide);
    const auto sign = hn::ShiftLeft<31>(hn::ShiftRight<15>(half));
    hn::StoreU(hn::BitCast(d, hn::Or(value, sign)), d, out + i);
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace gradwire
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire {
namespace {

HWY_EXPORT(FloatToBf16Simd);
HWY_EXPORT(FloatToFp16Simd);
HWY_EXPORT(Bf16ToFloatSimd);
HWY_EXPORT(Fp16ToFloatSimd);

uint32_t Bits(float x) { return std::bit_cast<uint32_t>(x); }
float Value(uint32_t bits) { return std::bit_cast<float>(bits); }

uint16_t Bf16(float x) {
  const uint32_t bits = Bits(x);
  const uint32_t magnitude = bits & kMagnitude;
  const uint32_t sign = bits >> 31 << 15;
  if (magnitude > kInfinity) return static_cast<uint16_t>(sign | 0x7FC0);
  const uint32_t rounded = (magnitude + 0x7FFF + (magnitude >> 16 & 1)) >> 16;
  return static_cast<uint16_t>(sign | std::min(rounded, uint32_t{0x7F7F}));
}

uint16_t Fp16(float x) {
  const uint32_t bits = Bits(x);
  const uint32_t magnitude = bits & kMagnitude;
  const uint32_t sign = bits >> 31 << 15;
  if (magnitude > kInfinity) return static_cast<uint16_t>(sign | 0x7E00);
  const uint32_t clamped = std::min(magnitude, kGreatestFp16);
  if (clamped < kSmallestFp16) {  // the sum with 0.5 rounds at fp16's last denormal bit
    return static_cast<uint16_t>(sign | (Bits(Value(clamped) + 0.5f) - kHalf));
  }
  return static_cast<uint16_t>(sign | (clamped + 0xFFF + (clamped >> 13 & 1) - kRebias) >> 13);
}

float FromFp16(uint16_t half) {
  const uint32_t shifted = (half & 0x7FFFu) << 13;
  const uint32_t sign = static_cast<uint32_t>(half >> 15) << 31;
  if (shifted >= 0x7C00u << 13) return Value(sign | (shifted + 2 * kRebias));
  if (shifted >= 0x0400u << 13) return Value(sign | (shifted + kRebias));
  return Value(sign | Bits(Value(shifted + kSmallestFp16) - Value(kSmallestFp16)));
}

}  // namespace

void FloatToBf16(const float* x, uint16_t* out, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(FloatToBf16Simd)(x, out, n);
  for (size_t i = 0; i < n; ++i) out[i] = Bf16(x[i]);
}

void FloatToFp16(const float* x, uint16_t* out, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(FloatToFp16Simd)(x, out, n);
  for (size_t i = 0; i < n; ++i) out[i] = Fp16(x[i]);
}

void Bf16ToFloat(const uint16_t* x, float* out, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(Bf16ToFloatSimd)(x, out, n);
  for (size_t i = 0; i < n; ++i) out[i] = Value(static_cast<uint32_t>(x[i]) << 16);
}

void Fp16ToFloat(const uint16_t* x, float* out, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(Fp16ToFloatSimd)(x, out, n);
  for (size_t i = 0; i < n; ++i) out[i] = FromFp16(x[i]);
}

}  // namespace gradwire
#endif  // HWY_ONCE
