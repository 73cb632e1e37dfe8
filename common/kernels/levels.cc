// SPDX-License-Identifier: Apache-2.0
// Implementation of levels.h.
#include "common/kernels/levels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace gradwire {
namespace {

// Eight codes have `width` bytes: they are put together in one word, lowest byte first as
// little_endian.h says of every machine that we build for.
constexpr size_t kGroup = 8;

size_t BytesOf(size_t codes, int width) { return (codes * static_cast<size_t>(width) + 7) / 8; }

}  // namespace

float GreatestMagnitude(const float* x, size_t n) {
  float greatest = 0;
  for (size_t i = 0; i < n; ++i) greatest = std::max(greatest, std::fabs(x[i]));
  return greatest;
}

void RoundToLevels(const float* x, const uint32_t* words, float norm, int levels, int8_t* out,
                   size_t n) {
  if (norm == 0) {
    std::fill_n(out, n, int8_t{0});
    return;
  }
  const double limit = norm;
  const double scale = static_cast<double>(levels) * 0x1p32 / limit;
  for (size_t i = 0; i < n; ++i) {
    const double magnitude = std::min(std::fabs(double{x[i]}), limit);
    // At most levels * 2^32, and off by far less than one: the level is never beyond the last.
    const auto share = static_cast<int64_t>(magnitude * scale);
    const auto level = static_cast<int8_t>((share + int64_t{words[i]}) >> 32);
    out[i] = static_cast<int8_t>(x[i] < 0 ? -level : level);
  }
}

void PackCodes(const uint8_t* codes, int width, uint8_t* bytes, size_t n) {
  const size_t size = BytesOf(n, width);
  for (size_t i = 0; i < n; i += kGroup) {
    uint64_t word = 0;
    if (i + kGroup <= n) {
      for (size_t j = kGroup; j-- > 0;) word = word << width | codes[i + j];
    } else {
      for (size_t j = n; j-- > i;) word = word << width | codes[j];
    }
    // A whole word where there is room for one: the next group overwrites what is too much.
    const size_t at = BytesOf(i, width);
    if (at + sizeof(word) <= size) {
      std::memcpy(bytes + at, &word, sizeof(word));
    } else {
      std::memcpy(bytes + at, &word, BytesOf(std::min(kGroup, n - i), width));
    }
  }
}

void UnpackCodes(const uint8_t* bytes, int width, uint8_t* codes, size_t n) {
  const uint64_t mask = (uint64_t{1} << width) - 1;
  const size_t size = BytesOf(n, width);
  for (size_t i = 0; i < n; i += kGroup) {
    const size_t at = BytesOf(i, width);
    uint64_t word = 0;
    if (at + sizeof(word) <= size) {
      std::memcpy(&word, bytes + at, sizeof(word));
    } else {
      std::memcpy(&word, bytes + at, BytesOf(std::min(kGroup, n - i), width));
    }
    const size_t end = std::min(i + kGroup, n);
    for (size_t j = i; j < end; ++j) {
      codes[j] = static_cast<uint8_t>(word & mask);
      word >>= width;
    }
  }
}

}  // namespace gradwire
