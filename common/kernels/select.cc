// SPDX-License-Identifier: Apache-2.0
// Implementation of select.h.  Highway does the passes that compare and
// compact; counting is scalar for all.  The scalar reference stands at the end.
#include "common/kernels/select.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>

#include "common/kernels/simd_targets.h"
#include "common/kernels/target.h"

#ifndef GRADWIRE_COMMON_KERNELS_SELECT_CONSTANTS_
#define GRADWIRE_COMMON_KERNELS_SELECT_CONSTANTS_
namespace gradwire {
namespace {

// A key, the bits of |x|, is 11 + 10 + 10 bits: a histogram for each.
constexpr int kFirstShift = 20;
constexpr int kSecondShift = 10;

}  // namespace
}  // namespace gradwire
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/kernels/select.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace gradwire {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Words = hn::ScalableTag<uint32_t>;

HWY_INLINE hn::Vec<Words> Keys(const float* x) {
  const Words d;
  const auto bits = hn::BitCast(d, hn::LoadU(hn::RebindToFloat<Words>(), x));
  return hn::And(bits, hn::Set(d, 0x7FFFFFFFu));
}

// Both write whole vectors: `out` has room for a vector more than is found.
// They return where they stopped: the caller does the last n % lanes.
size_t CollectKeysSimd(const float* x, size_t n, uint32_t bin, uint32_t* out, size_t* found) {
  const Words d;
  const auto wanted = hn::Set(d, bin);
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto keys = Keys(x + i);
    const auto inside = hn::Eq(hn::ShiftRight<kFirstShift>(keys), wanted);
    if (hn::AllFalse(d, inside)) continue;
    hn::StoreU(hn::Compress(keys, inside), d, out + *found);
    *found += hn::CountTrue(d, inside);
  }
  return i;
}

size_t CollectIndicesSimd(const float* x, size_t n, uint32_t least, uint32_t* out, size_t* found) {
  const Words d;
  const auto limit = hn::Set(d, least);
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto large = hn::Not(hn::Lt(Keys(x + i), limit));
    if (hn::AllFalse(d, large)) continue;
    // Compressing in a register and storing all of it beats the compressing store.
    const auto indices = hn::Iota(d, static_cast<uint32_t>(i));
    hn::StoreU(hn::Compress(indices, large), d, out + *found);
    *found += hn::CountTrue(d, large);
  }
  return i;
}

size_t CountSimd(const float* x, size_t n, uint32_t least, size_t* count) {
  const Words d;
  const auto limit = hn::Set(d, least);
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    *count += hn::CountTrue(d, hn::Not(hn::Lt(Keys(x + i), limit)));
  }
  return i;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace gradwire
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire {
namespace {

HWY_EXPORT(CollectKeysSimd);
HWY_EXPORT(CollectIndicesSimd);
HWY_EXPORT(CountSimd);

constexpr size_t kSlack = 64;  // at least a vector
using Histogram = std::array<uint32_t, 2048>;

uint32_t Key(float x) { return std::bit_cast<uint32_t>(x) & 0x7FFFFFFF; }

// The bin in which the k-th largest lies; leaves in *k its rank within that bin.
uint32_t FindBin(const Histogram& counts, size_t* k) {
  auto bin = static_cast<uint32_t>(counts.size() - 1);
  while (counts[bin] < *k) *k -= counts[bin--];
  return bin;
}

// The `count` keys whose first digit is `bin`.
void CollectKeys(const float* x, size_t n, uint32_t bin, size_t count,
                 std::vector<uint32_t>* keys) {
  keys->resize(count + kSlack);
  size_t found = 0;
  size_t i = 0;
  if (!UseScalarKernels()) {
    i = HWY_DYNAMIC_DISPATCH(CollectKeysSimd)(x, n, bin, keys->data(), &found);
  }
  for (; i < n; ++i) {
    const uint32_t key = Key(x[i]);
    if (key >> kFirstShift == bin) (*keys)[found++] = key;
  }
  keys->resize(found);
}

struct Threshold {
  uint32_t key = 0;        // of the k-th largest
  size_t wanted = 0;       // so many of those equal to it are among the k
  size_t at_or_above = 0;  // values with that key or a greater one
};

Threshold FindThreshold(const float* x, size_t n, size_t k) {
  Threshold threshold;
  threshold.wanted = k;
  Histogram counts = {};
  for (size_t i = 0; i < n; ++i) ++counts[Key(x[i]) >> kFirstShift];
  const uint32_t first = FindBin(counts, &threshold.wanted);
  std::vector<uint32_t> keys;
  CollectKeys(x, n, first, counts[first], &keys);

  counts.fill(0);
  for (const uint32_t key : keys) ++counts[key >> kSecondShift & 0x3FF];
  const uint32_t second = FindBin(counts, &threshold.wanted);
  const uint32_t prefix = first << (kFirstShift - kSecondShift) | second;

  counts.fill(0);
  for (const uint32_t key : keys) {
    if (key >> kSecondShift == prefix) ++counts[key & 0x3FF];
  }
  const uint32_t third = FindBin(counts, &threshold.wanted);
  threshold.key = prefix << kSecondShift | third;
  threshold.at_or_above = k - threshold.wanted + counts[third];
  return threshold;
}

// Those whose key is `least` or more, of which there are `count`.
void CollectIndices(const float* x, size_t n, uint32_t least, size_t count,
                    std::vector<uint32_t>* indices) {
  indices->resize(count + kSlack);
  size_t found = 0;
  size_t i = 0;
  if (!UseScalarKernels()) {
    i = HWY_DYNAMIC_DISPATCH(CollectIndicesSimd)(x, n, least, indices->data(), &found);
  }
  for (; i < n; ++i) {
    if (Key(x[i]) >= least) (*indices)[found++] = static_cast<uint32_t>(i);
  }
  indices->resize(found);
}

// Zero is below every limit.
uint32_t LeastKey(float least) { return std::max(1u, Key(least)); }

// How many have this key or a greater one.
size_t CountFrom(const float* x, size_t n, uint32_t key) {
  size_t count = 0;
  size_t i = 0;
  if (!UseScalarKernels()) i = HWY_DYNAMIC_DISPATCH(CountSimd)(x, n, key, &count);
  for (; i < n; ++i) {
    if (Key(x[i]) >= key) ++count;
  }
  return count;
}

// Of `indices`, which are those of all values from the threshold on and perhaps of others: the k.
// Of the values equal to the k-th, the lowest indices stay.
void KeepLargest(const float* x, const Threshold& threshold, std::vector<uint32_t>* indices) {
  size_t kept = 0;
  size_t equal = 0;
  for (const uint32_t index : *indices) {
    const uint32_t key = Key(x[index]);
    if (key < threshold.key || (key == threshold.key && equal++ >= threshold.wanted)) continue;
    (*indices)[kept++] = index;
  }
  indices->resize(kept);
}

// A key that, going by a sample, somewhat more than k values reach.
uint32_t GuessLeast(const float* x, size_t n, size_t k) {
  constexpr size_t kRun = 16;  // a cache line
  constexpr size_t kRuns = 256;
  std::array<uint32_t, kRun * kRuns> sample;
  for (size_t run = 0; run < kRuns; ++run) {
    const float* const begin = x + run * (n / kRuns);
    for (size_t i = 0; i < kRun; ++i) sample[run * kRun + i] = Key(begin[i]);
  }
  const double expected =
      static_cast<double>(k) / static_cast<double>(n) * static_cast<double>(sample.size());
  const auto rank = static_cast<size_t>(expected + 4 * std::sqrt(expected) + 4);
  std::nth_element(sample.begin(), sample.begin() + rank, sample.end(), std::greater<>());
  return sample[rank];
}

// Those that the guess lets through are few: the rest is done with them alone.  False: it let
// through fewer than k, or too many to gain by it.
bool SelectAmongFew(const float* x, size_t n, size_t k, std::vector<uint32_t>* indices) {
  const uint32_t least = std::max(1u, GuessLeast(x, n, k));
  const size_t count = CountFrom(x, n, least);
  if (count < k || count > n / 4) return false;
  CollectIndices(x, n, least, count, indices);
  std::vector<float> few(count);
  for (size_t i = 0; i < count; ++i) few[i] = x[(*indices)[i]];
  KeepLargest(x, FindThreshold(few.data(), count, k), indices);
  return true;
}

}  // namespace

void SelectLargest(const float* x, size_t n, size_t k, std::vector<uint32_t>* indices) {
  constexpr size_t kLeastForSample = size_t{1} << 15;
  if (n >= kLeastForSample && k <= n / 16 && SelectAmongFew(x, n, k, indices)) return;
  const Threshold threshold = FindThreshold(x, n, k);
  CollectIndices(x, n, threshold.key, threshold.at_or_above, indices);
  KeepLargest(x, threshold, indices);
}

size_t CountAtLeast(const float* x, size_t n, float least) {
  return CountFrom(x, n, LeastKey(least));
}

void SelectAtLeast(const float* x, size_t n, float least, std::vector<uint32_t>* indices) {
  CollectIndices(x, n, LeastKey(least), CountAtLeast(x, n, least), indices);
}

}  // namespace gradwire
#endif  // HWY_ONCE
