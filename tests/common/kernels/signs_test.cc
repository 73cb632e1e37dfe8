// SPDX-License-Identifier: Apache-2.0
// Sign bits and the sums by sign, against their definitions, and their bits under every target.
#include "common/kernels/signs.h"

#include <vector>

#include "gtest/gtest.h"
#include "tests/common/kernels/targets.h"

namespace gradwire {
namespace {

TEST(PackSignsTest, BitsFillBytesFromTheLowestUpAndZeroIsNotBelowZero) {
  const std::vector<float> x = {-1, 1, -0.0F, 0, -1e-45F, 1e-45F, -3e38F, 3e38F, 7, -7};
  ForEachTarget([&] {
    std::vector<uint8_t> bits(3, 0xEE);
    PackSigns(x.data(), bits.data(), x.size());
    EXPECT_EQ(bits, (std::vector<uint8_t>{0b01010001, 0b10, 0xEE}));
  });
}

TEST(PackSignsTest, EveryTargetSaysWhatIsBelowZero) {
  for (const size_t n : TestSizes()) {
    for (size_t offset = 0; offset < 4; ++offset) {
      const std::vector<float> x = ValuesWithNonFinite(n + offset, 3);
      std::vector<uint8_t> want((n + 7) / 8, 0);
      for (size_t i = 0; i < n; ++i) {
        if (x[offset + i] < 0) want[i / 8] = static_cast<uint8_t>(want[i / 8] | 1u << i % 8);
      }
      ForEachTarget([&] {
        std::vector<uint8_t> bits(want.size(), 0xFF);
        PackSigns(x.data() + offset, bits.data(), n);
        EXPECT_EQ(bits, want);
      });
    }
  }
}

TEST(PackSignsTest, TakingTheScaleLeavesWhatUnpackingAndSubtractingLeaves) {
  for (const size_t n : TestSizes()) {
    const std::vector<float> x = HardValues(n, 5);
    std::vector<uint8_t> want_bits((n + 7) / 8);
    PackSigns(x.data(), want_bits.data(), n);
    std::vector<float> want = x;
    for (float& value : want) value = value - (value < 0 ? -0.3f : 0.3f);
    ForEachTarget([&] {
      std::vector<float> rest = x;
      std::vector<uint8_t> bits(want_bits.size(), 0xFF);
      PackSignsTakeScale(0.3f, rest.data(), bits.data(), n);
      EXPECT_EQ(bits, want_bits);
      EXPECT_EQ(rest, want);
    });
  }
}

TEST(UnpackSignsTest, EveryTargetSelectsByTheBit) {
  for (const size_t n : TestSizes()) {
    std::vector<uint8_t> bits((n + 7) / 8);
    for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint8_t>(37 * i + 11);
    std::vector<float> want(n + 2, 9.0f);
    for (size_t i = 0; i < n; ++i) want[i] = (bits[i / 8] >> i % 8 & 1) != 0 ? -2.5f : 0.5f;
    ForEachTarget([&] {
      std::vector<float> out(n + 2, 9.0f);
      UnpackSigns(bits.data(), 0.5f, -2.5f, out.data(), n);
      EXPECT_EQ(out, want) << "and nothing behind the end";
    });
  }
}

TEST(SumBySignTest, IsSixteenPartialSumsOfEachSign) {
  for (const size_t n : TestSizes()) {
    const std::vector<float> x = HardValues(n, 8);
    double above[16] = {};
    double below[16] = {};
    size_t count = 0;
    for (size_t i = 0; i < n; ++i) {
      (x[i] < 0 ? below : above)[i % 16] += x[i] < 0 ? -double{x[i]} : double{x[i]};
      if (x[i] < 0) ++count;
    }
    SignSums want;
    for (size_t lane = 0; lane < 16; ++lane) {
      want.above += above[lane];
      want.below += below[lane];
    }
    ForEachTarget([&] {
      const SignSums sums = SumBySign(x.data(), n);
      EXPECT_EQ(sums.above, want.above);
      EXPECT_EQ(sums.below, want.below);
      EXPECT_EQ(sums.count_below, count);
    });
  }
}

}  // namespace
}  // namespace gradwire
