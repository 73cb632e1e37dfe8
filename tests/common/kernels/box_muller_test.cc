// SPDX-License-Identifier: Apache-2.0
// The Box-Muller kernel against libm in double precision, and its bits under
// every target.  Moments and distribution are tests of common/random/gaussian.h.
#include "common/kernels/box_muller.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"
#include "tests/common/kernels/targets.h"

namespace gradwire {
namespace {

constexpr uint32_t kEdges[] = {
    0,          1,          2,          3,          0x1FFFFFFF, 0x20000000, 0x20000001, 0x3FFFFFFF,
    0x40000000, 0x40000001, 0x5FFFFFFF, 0x60000000, 0x7FFFFFFF, 0x80000000, 0x9FFFFFFF, 0xA0000000,
    0xBFFFFFFF, 0xC0000000, 0xE0000000, 0xFFFFFF80, 0xFFFFFFFE, 0xFFFFFFFF, 0xB504F333, 0x5A827999};

// Every pair of edges, then random words.
std::vector<uint32_t> Words() {
  std::vector<uint32_t> words;
  for (const uint32_t a : kEdges) {
    for (const uint32_t b : kEdges) words.insert(words.end(), {a, b});
  }
  std::mt19937 random(31);
  for (int i = 0; i < 400000; ++i) words.push_back(static_cast<uint32_t>(random()));
  return words;
}

TEST(BoxMullerTest, IsWithinThreeUnitsInTheLastPlaceOfTheFormula) {
  const std::vector<uint32_t> words = Words();
  const double pi = std::acos(-1.0);
  ForEachTarget([&] {
    std::vector<float> normals(words.size());
    BoxMuller(words.data(), normals.data(), words.size());
    double worst = 0;
    for (size_t i = 0; i < words.size(); i += 2) {
      // The definition fixes how a word becomes a float in (0, 1].
      const float u = (static_cast<float>(words[i] >> 1) + 0.5f) / 2147483648.0f;
      const double radius = std::sqrt(-2.0 * std::log(static_cast<double>(u)));
      const double angle = 2 * pi * words[i + 1] / 4294967296.0;
      const double scale = std::max(radius, 1e-300);
      worst = std::max({worst, std::fabs(normals[i] - radius * std::cos(angle)) / scale,
                        std::fabs(normals[i + 1] - radius * std::sin(angle)) / scale});
    }
    EXPECT_LT(worst, 1.7e-7) << "relative to the radius";
  });
}

TEST(BoxMullerTest, RightAnglesAreExact) {
  ForEachTarget([&] {
    const uint32_t words[] = {9, 0, 9, 0x40000000, 9, 0x80000000, 9, 0xC0000000};
    float normals[8];
    BoxMuller(words, normals, 8);
    const float radius = normals[0];
    EXPECT_NEAR(radius, std::sqrt(-2.0 * std::log(4.5 / 2147483648.0)), 1e-6);
    const float want[] = {radius, 0, 0, radius, -radius, 0, 0, -radius};
    for (int i = 0; i < 8; ++i) EXPECT_EQ(normals[i], want[i]) << i;
  });
}

TEST(BoxMullerTest, EveryTargetGivesTheScalarBitsAtAnyLengthAndAlignment) {
  const std::vector<uint32_t> words = Words();
  for (const size_t n : {0, 2, 6, 8, 10, 30, 32, 34, 64, 1000, 1152}) {
    for (size_t offset = 0; offset < 4; ++offset) {
      const auto run = [&] {
        std::vector<float> normals(n + offset + 1, -7.0f);
        BoxMuller(words.data() + offset, normals.data() + offset, n);
        return BitsOf(normals);
      };
      ASSERT_TRUE(SetKernelTarget("scalar").ok());
      const std::vector<uint32_t> want = run();
      ForEachTarget([&] { EXPECT_EQ(run(), want) << "n " << n; });
    }
  }
}

}  // namespace
}  // namespace gradwire
