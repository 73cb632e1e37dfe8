// SPDX-License-Identifier: Apache-2.0
// Implementation of box_muller.h: Highway, and the scalar reference at the end.
//
// ln x, for x = 2^k m with m in [sqrt(1/2), sqrt(2)): FreeBSD's e_logf.c, with f = m - 1,
//   s = f/(2+f), ln m = f - f^2/2 + s (f^2/2 + R(s^2)).
// sin and cos on [-pi/4, pi/4]: Cephes sinf.c; the quadrant is taken off the
// integer angle, exactly.
#include "common/kernels/box_muller.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "common/kernels/simd_targets.h"
#include "common/kernels/target.h"

#ifndef GRADWIRE_COMMON_KERNELS_BOX_MULLER_CONSTANTS_
#define GRADWIRE_COMMON_KERNELS_BOX_MULLER_CONSTANTS_
namespace gradwire {
namespace {

constexpr uint32_t kOne = 0x3F800000;       // bits of 1
constexpr uint32_t kRootHalf = 0x3F3504F3;  // bits of sqrt(1/2)
constexpr float kLn2High = 6.9313812256e-01f;
constexpr float kLn2Low = 9.0580006145e-06f;
constexpr float kLog1 = 0.66666662693f, kLog2 = 0.40000972152f;
constexpr float kLog3 = 0.28498786688f, kLog4 = 0.24279078841f;

constexpr float kSin3 = -1.6666654611e-1f, kSin5 = 8.3321608736e-3f, kSin7 = -1.9515295891e-4f;
constexpr float kCos4 = 4.166664568298827e-2f, kCos6 = -1.388731625493765e-3f;
constexpr float kCos8 = 2.443315711809948e-5f;
constexpr float kTwoToMinus31 = 1.0f / 2147483648.0f;
constexpr float kAngleUnit = 1.4629180792671596e-9f;  // 2 pi / 2^32

}  // namespace
}  // namespace gradwire
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/kernels/box_muller.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace gradwire {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Words = hn::RebindToUnsigned<Floats>;
using Ints = hn::RebindToSigned<Floats>;
using VF = hn::Vec<Floats>;
using VU = hn::Vec<Words>;

HWY_INLINE VF Constant(float x) { return hn::Set(Floats(), x); }

// x positive, normal.
HWY_INLINE VF Log(VF x) {
  const Floats d;
  const Words du;
  const Ints di;
  const VU bits = hn::Add(hn::BitCast(du, x), hn::Set(du, kOne - kRootHalf));
  const VU fraction = hn::And(bits, hn::Set(du, 0x007FFFFFu));
  const auto k = hn::Sub(hn::BitCast(di, hn::ShiftRight<23>(bits)), hn::Set(di, 127));
  const VF dk = hn::ConvertTo(d, k);
  const VF m = hn::BitCast(d, hn::Add(fraction, hn::Set(du, kRootHalf)));
  const VF f = hn::Sub(m, Constant(1.0f));
  const VF s = hn::Div(f, hn::Add(Constant(2.0f), f));
  const VF z = hn::Mul(s, s);
  const VF w = hn::Mul(z, z);
  const VF even = hn::Mul(w, hn::Add(Constant(kLog2), hn::Mul(w, Constant(kLog4))));
  const VF odd = hn::Mul(z, hn::Add(Constant(kLog1), hn::Mul(w, Constant(kLog3))));
  const VF r = hn::Add(odd, even);
  const VF half_square = hn::Mul(hn::Mul(Constant(0.5f), f), f);
  VF sum = hn::Mul(s, hn::Add(half_square, r));
  sum = hn::Add(sum, hn::Mul(dk, Constant(kLn2Low)));
  sum = hn::Add(hn::Sub(sum, half_square), f);
  return hn::Add(sum, hn::Mul(dk, Constant(kLn2High)));
}

// Of the angle 2 pi words / 2^32.
HWY_INLINE void SinCos(VU words, VF* sine, VF* cosine) {
  const Floats d;
  const Words du;
  const VU quadrant = hn::ShiftRight<30>(hn::Add(words, hn::Set(du, 1u << 29)));
  const VU rest = hn::Sub(words, hn::ShiftLeft<30>(quadrant));
  const VF x = hn::Mul(hn::ConvertTo(d, hn::BitCast(Ints(), rest)), Constant(kAngleUnit));
  const VF z = hn::Mul(x, x);
  VF s = hn::Add(hn::Mul(Constant(kSin7), z), Constant(kSin5));
  s = hn::Add(hn::Mul(s, z), Constant(kSin3));
  s = hn::Add(hn::Mul(hn::Mul(s, z), x), x);
  VF c = hn::Add(hn::Mul(Constant(kCos8), z), Constant(kCos6));
  c = hn::Add(hn::Mul(c, z), Constant(kCos4));
  c = hn::Sub(hn::Mul(hn::Mul(c, z), z), hn::Mul(Constant(0.5f), z));
  c = hn::Add(c, Constant(1.0f));
  const auto one = hn::Set(du, 1u);
  const auto swapped = hn::RebindMask(d, hn::Eq(hn::And(quadrant, one), one));
  const VU sine_sign = hn::ShiftLeft<31>(hn::ShiftRight<1>(quadrant));
  const VU cosine_sign = hn::ShiftLeft<31>(hn::ShiftRight<1>(hn::Add(quadrant, one)));
  *sine = hn::Xor(hn::IfThenElse(swapped, c, s), hn::BitCast(d, sine_sign));
  *cosine = hn::Xor(hn::IfThenElse(swapped, s, c), hn::BitCast(d, cosine_sign));
}

// Lanes(Floats()) pairs.
HWY_INLINE void TransformPairs(const uint32_t* words, float* normals) {
  const Floats d;
  VU a, b;
  hn::LoadInterleaved2(Words(), words, a, b);
  const VF t = hn::ConvertTo(d, hn::BitCast(Ints(), hn::ShiftRight<1>(a)));
  const VF u = hn::Mul(hn::Add(t, Constant(0.5f)), Constant(kTwoToMinus31));
  const VF radius = hn::Sqrt(hn::Mul(Constant(-2.0f), Log(u)));
  VF sine, cosine;
  SinCos(b, &sine, &cosine);
  hn::StoreInterleaved2(hn::Mul(radius, cosine), hn::Mul(radius, sine), d, normals);
}

void BoxMullerSimd(const uint32_t* words, float* normals, size_t n) {
  const size_t chunk = 2 * hn::Lanes(Floats());
  size_t i = 0;
  for (; i + chunk <= n; i += chunk) TransformPairs(words + i, normals + i);
  if (i == n) return;
  uint32_t last_words[2 * hn::MaxLanes(Floats())] = {};
  float last_normals[2 * hn::MaxLanes(Floats())];
  std::memcpy(last_words, words + i, (n - i) * sizeof(uint32_t));
  TransformPairs(last_words, last_normals);
  std::memcpy(normals + i, last_normals, (n - i) * sizeof(float));
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace gradwire
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire {
namespace {

HWY_EXPORT(BoxMullerSimd);

float Log(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x) + (kOne - kRootHalf);
  const auto dk = static_cast<float>(static_cast<int32_t>(bits >> 23) - 127);
  bits = (bits & 0x007FFFFF) + kRootHalf;
  const float f = std::bit_cast<float>(bits) - 1.0f;
  const float s = f / (2.0f + f);
  const float z = s * s;
  const float w = z * z;
  const float r = z * (kLog1 + w * kLog3) + w * (kLog2 + w * kLog4);
  const float half_square = 0.5f * f * f;
  return s * (half_square + r) + dk * kLn2Low - half_square + f + dk * kLn2High;
}

void SinCos(uint32_t word, float* sine, float* cosine) {
  const uint32_t quadrant = (word + (1u << 29)) >> 30;
  const auto rest = static_cast<int32_t>(word - (quadrant << 30));
  const float x = static_cast<float>(rest) * kAngleUnit;
  const float z = x * x;
  const float s = ((kSin7 * z + kSin5) * z + kSin3) * z * x + x;
  const float c = ((kCos8 * z + kCos6) * z + kCos4) * z * z - 0.5f * z + 1.0f;
  const float sines[] = {s, c, -s, -c};
  *sine = sines[quadrant];
  const float cosines[] = {c, -s, -c, s};
  *cosine = cosines[quadrant];
}

}  // namespace

void BoxMuller(const uint32_t* words, float* normals, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(BoxMullerSimd)(words, normals, n);
  for (size_t i = 0; i < n; i += 2) {
    const float t = static_cast<float>(static_cast<int32_t>(words[i] >> 1));
    const float radius = std::sqrt(-2.0f * Log((t + 0.5f) * kTwoToMinus31));
    float sine;
    float cosine;
    SinCos(words[i + 1], &sine, &cosine);
    normals[i] = radius * cosine;
    normals[i + 1] = radius * sine;
  }
}

}  // namespace gradwire
#endif  // HWY_ONCE
