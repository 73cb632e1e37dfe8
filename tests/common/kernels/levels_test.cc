// SPDX-License-Identifier: Apache-2.0
// Rounding by chance and codes in bits, against exact arithmetic.
#include "common/kernels/levels.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/kernels/targets.h"

namespace gradwire {
namespace {

using testing::Each;
using testing::ElementsAre;

int Rounded(float x, uint32_t word, float norm, int levels) {
  int8_t out = 99;
  RoundToLevels(&x, &word, norm, levels, &out, 1);
  return out;
}

TEST(RoundToLevelsTest, RoundsUpWhenTheWordReachesTheFraction) {
  struct Case {
    const char* name;
    float x;
    uint32_t word;
    float norm;
    int levels;
    int want;
  };
  const float greatest = std::numeric_limits<float>::max();
  const Case cases[] = {
      {"a quarter, least word that rounds up", 1.25f, 0xC0000000u, 4, 4, 2},
      {"a quarter, greatest word that does not", 1.25f, 0xBFFFFFFFu, 4, 4, 1},
      {"negative", -1.25f, 0xC0000000u, 4, 4, -2},
      {"whole level, any word", 3.0f, 0xFFFFFFFFu, 4, 4, 3},
      {"the norm itself", -4.0f, 0xFFFFFFFFu, 4, 127, -127},
      {"the norm itself, least word", 4.0f, 0, 4, 127, 127},
      {"beyond the norm", 4.1f, 0xFFFFFFFFu, 4, 1, 1},
      {"zero", 0.0f, 0xFFFFFFFFu, 4, 7, 0},
      {"least denormal", 1e-45f, 0, 1e-45f, 7, 7},
      {"greatest", -greatest, 0xFFFFFFFFu, greatest, 7, -7},
      {"of nothing", 0.0f, 0xFFFFFFFFu, 0, 7, 0},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Rounded(c.x, c.word, c.norm, c.levels), c.want) << c.name;
  }
}

// The double product may be off by an ulp: never so that a level is beyond the last one, or
// that the norm itself is not the last level.
TEST(RoundToLevelsTest, TheNormIsTheLastLevelWhateverTheWord) {
  const std::vector<float> norms = HardValues(10000, 5);
  for (const float norm : norms) {
    if (norm <= 0) continue;
    for (const int levels : {1, 3, 7, 100, 127}) {
      ASSERT_EQ(Rounded(norm, 0xFFFFFFFFu, norm, levels), levels) << norm;
      ASSERT_GE(Rounded(norm, 1, norm, levels), levels) << norm;
    }
  }
}

TEST(GreatestMagnitudeTest, LooksAtBothSigns) {
  const std::vector<float> x = {1, -3e38F, 2, -0.0F};
  EXPECT_EQ(GreatestMagnitude(x.data(), x.size()), 3e38F);
  EXPECT_EQ(GreatestMagnitude(x.data(), 0), 0);
}

TEST(PackCodesTest, BitsFillBytesFromTheLowestUp) {
  const std::vector<uint8_t> codes = {1, 2, 3, 4, 5, 6, 7, 1, 2};
  std::vector<uint8_t> bytes(5, 0xEE);
  PackCodes(codes.data(), 3, bytes.data(), codes.size());
  // 001 + 010 << 3 + 011 << 6 + ..., the ninth in a byte of its own.
  EXPECT_THAT(bytes, ElementsAre(0b11010001, 0b01011000, 0b00111111, 0b010, 0xEE));
}

TEST(PackCodesTest, ComeBackAtEveryWidthAndNumber) {
  for (int width = 1; width <= 8; ++width) {
    for (size_t n = 0; n <= 50; ++n) {
      std::vector<uint8_t> codes(n);
      for (size_t i = 0; i < n; ++i) codes[i] = static_cast<uint8_t>((91 * i + 7) % (1u << width));
      const size_t size = (n * static_cast<size_t>(width) + 7) / 8;
      std::vector<uint8_t> bytes(size, 0xFF);
      PackCodes(codes.data(), width, bytes.data(), n);
      size_t ones = 0;  // of the definition: bit j of code i is bit i width + j
      for (size_t bit = 0; bit < 8 * size; ++bit) {
        const size_t i = bit / static_cast<size_t>(width);
        const int want = i < n ? codes[i] >> bit % static_cast<size_t>(width) & 1 : 0;
        if ((bytes[bit / 8] >> bit % 8 & 1) != want) ++ones;
      }
      EXPECT_EQ(ones, 0u) << width << " " << n;
      std::vector<uint8_t> back(n + 1, 0xEE);
      UnpackCodes(bytes.data(), width, back.data(), n);
      codes.push_back(0xEE);
      EXPECT_EQ(back, codes);
    }
  }
}

TEST(RoundToLevelsTest, ZeroNormIsAllZero) {
  const std::vector<float> x(9, 0.0f);
  const std::vector<uint32_t> words(9, 0xFFFFFFFFu);
  std::vector<int8_t> out(9, 1);
  RoundToLevels(x.data(), words.data(), 0, 7, out.data(), x.size());
  EXPECT_THAT(out, Each(0));
}

}  // namespace
}  // namespace gradwire
