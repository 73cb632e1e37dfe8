// SPDX-License-Identifier: Apache-2.0
// Implementation of sort_columns.h: Highway, and the scalar reference at the end.
#include "common/kernels/sort_columns.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "common/kernels/simd_targets.h"
#include "common/kernels/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/kernels/sort_columns.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Needs the two above.
#include "common/kernels/loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gradwire {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The bits of a float as an integer that is ordered as floats are; and back.
void TurnKeysSimd(float* row, size_t n) {
  ForEachVector(n, [=](auto d, size_t i) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> di;
    const auto bits = hn::BitCast(di, hn::LoadU(d, row + i));
    const auto flip = hn::And(hn::ShiftRight<31>(bits), hn::Set(di, 0x7FFFFFFF));
    hn::StoreU(hn::BitCast(d, hn::Xor(bits, flip)), d, row + i);
  });
}

void ExchangeSimd(float* low, float* high, size_t n) {
  ForEachVector(n, [=](auto d, size_t i) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> di;
    const auto a = hn::BitCast(di, hn::LoadU(d, low + i));
    const auto b = hn::BitCast(di, hn::LoadU(d, high + i));
    hn::StoreU(hn::BitCast(d, hn::Min(a, b)), d, low + i);
    hn::StoreU(hn::BitCast(d, hn::Max(a, b)), d, high + i);
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace gradwire
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire {
namespace {

HWY_EXPORT(TurnKeysSimd);
HWY_EXPORT(ExchangeSimd);

void TurnKeys(float* row, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(TurnKeysSimd)(row, n);
  for (size_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<uint32_t>(row[i]);
    row[i] = std::bit_cast<float>((bits >> 31) != 0 ? bits ^ 0x7FFFFFFFu : bits);
  }
}

// Of keys.
void Exchange(float* low, float* high, size_t n) {
  if (!UseScalarKernels()) return HWY_DYNAMIC_DISPATCH(ExchangeSimd)(low, high, n);
  for (size_t i = 0; i < n; ++i) {
    const auto a = std::bit_cast<int32_t>(low[i]);
    const auto b = std::bit_cast<int32_t>(high[i]);
    low[i] = std::bit_cast<float>(std::min(a, b));
    high[i] = std::bit_cast<float>(std::max(a, b));
  }
}

}  // namespace

// Batcher's merge exchange (Knuth, The Art of Computer Programming 3, algorithm 5.2.2M): the same
// comparisons whatever the values are, about count log2(count)^2 / 4 of them.
void SortColumns(float* const* rows, size_t count, size_t n) {
  if (count < 2) return;
  for (size_t row = 0; row < count; ++row) TurnKeys(rows[row], n);
  const size_t top = std::bit_ceil(count) / 2;
  for (size_t p = top; p > 0; p /= 2) {
    size_t r = 0;
    size_t d = p;
    for (size_t q = top;; q /= 2) {
      for (size_t i = 0; i + d < count; ++i) {
        if ((i & p) == r) Exchange(rows[i], rows[i + d], n);
      }
      if (q == p) break;
      d = q - p;
      r = p;
    }
  }
  for (size_t row = 0; row < count; ++row) TurnKeys(rows[row], n);
}

}  // namespace gradwire
#endif  // HWY_ONCE
