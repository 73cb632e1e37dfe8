// SPDX-License-Identifier: Apache-2.0
// Implementation of index_set.h.
#include "common/random/index_set.h"

#include <algorithm>
#include <array>
#include <bit>

namespace gradwire {
namespace {

// Uniform draws from small ranges: Lemire, "Fast random integer generation in an
// interval" (2019), multiply-shift with rejection, hence without bias.
class Draws {
 public:
  // There will be `count` draws, numbered from 0, in ascending order.
  Draws(const RandomKey& key, size_t count) : key_(key), spare_(RoundUp(count)) {}

  // Uniform in [0, range), 1 <= range < 2^32.
  uint32_t Draw(size_t number, uint32_t range) {
    uint64_t product = uint64_t{Word(number, &words_, &group_)} * range;
    if (static_cast<uint32_t>(product) < range) {
      const uint32_t biased = (0u - range) % range;  // 2^32 mod range
      while (static_cast<uint32_t>(product) < biased) {
        product = uint64_t{Word(spare_++, &spare_words_, &spare_group_)} * range;
      }
    }
    return static_cast<uint32_t>(product >> 32);
  }

 private:
  using Words = std::array<uint32_t, 4>;

  static size_t RoundUp(size_t count) { return (count + 3) / 4 * 4; }

  uint32_t Word(size_t number, Words* words, size_t* group) const {
    if (number / 4 != *group) {
      *group = number / 4;
      *words = RandomWords(key_, static_cast<uint32_t>(*group));
    }
    return (*words)[number % 4];
  }

  const RandomKey key_;
  size_t spare_;  // number of the next word for a rejected draw
  Words words_ = {};
  size_t group_ = SIZE_MAX;
  Words spare_words_ = {};
  size_t spare_group_ = SIZE_MAX;
};

void FillStratified(const RandomKey& key, size_t n, size_t k, std::vector<uint32_t>* indices) {
  Draws draws(key, k);
  uint64_t begin = 0;
  for (size_t i = 0; i < k; ++i) {
    const uint64_t end = (uint64_t{i} + 1) * n / k;
    const uint32_t offset = draws.Draw(i, static_cast<uint32_t>(end - begin));
    (*indices)[i] = static_cast<uint32_t>(begin) + offset;
    begin = end;
  }
}

// Floyd's algorithm (Bentley, "A sample of brilliance", 1987) into a bitmap,
// which gives the set back in order.
void FillUniform(const RandomKey& key, size_t n, size_t k, std::vector<uint32_t>* indices) {
  Draws draws(key, k);
  std::vector<uint64_t> chosen((n + 63) / 64, 0);
  for (size_t i = 0; i < k; ++i) {
    const auto last = static_cast<uint32_t>(n - k + i);
    uint32_t index = draws.Draw(i, last + 1);
    if ((chosen[index / 64] >> (index % 64) & 1) != 0) index = last;
    chosen[index / 64] |= uint64_t{1} << (index % 64);
  }
  size_t found = 0;
  for (size_t word = 0; word < chosen.size(); ++word) {
    for (uint64_t bits = chosen[word]; bits != 0; bits &= bits - 1) {
      (*indices)[found++] =
          static_cast<uint32_t>(64 * word) + static_cast<uint32_t>(std::countr_zero(bits));
    }
  }
}

void FillStrided(const RandomKey& key, size_t n, size_t k, std::vector<uint32_t>* indices) {
  const uint64_t shift = Draws(key, 1).Draw(0, static_cast<uint32_t>(n));
  for (size_t i = 0; i < k; ++i) {
    (*indices)[i] = static_cast<uint32_t>((uint64_t{i} * n + shift) / k);
  }
}

}  // namespace

size_t IndexSetSize(double ratio, size_t n) {
  const auto rounded = static_cast<size_t>(ratio * static_cast<double>(n) + 0.5);
  return std::clamp<size_t>(rounded, 1, n);
}

void FillIndexSet(IndexSetLaw law, const RandomKey& key, size_t n, size_t k,
                  std::vector<uint32_t>* indices) {
  indices->resize(k);
  switch (law) {
    case IndexSetLaw::kStratified:
      return FillStratified(key, n, k, indices);
    case IndexSetLaw::kUniform:
      return FillUniform(key, n, k, indices);
    case IndexSetLaw::kStrided:
      return FillStrided(key, n, k, indices);
  }
}

}  // namespace gradwire
