// SPDX-License-Identifier: Apache-2.0
// The 16-bit formats against their definition: values by exponent and fraction, and
// round to nearest even at every boundary between neighbours.
#include "common/kernels/casts.h"

#include <cmath>
#include <functional>

#include "gtest/gtest.h"
#include "tests/common/kernels/targets.h"

namespace gradwire {
namespace {

struct Format {
  const char* name;
  int exponent_bits;
  int fraction_bits;
  uint16_t greatest;  // finite
  uint16_t nan;
  void (*narrow)(const float*, uint16_t*, size_t);
  void (*widen)(const uint16_t*, float*, size_t);
};

constexpr Format kFormats[] = {
    {"bf16", 8, 7, 0x7F7F, 0x7FC0, FloatToBf16, Bf16ToFloat},
    {"fp16", 5, 10, 0x7BFF, 0x7E00, FloatToFp16, Fp16ToFloat},
};

// IEEE 754: (-1)^s 2^(e - bias) 1.f, or 2^(1 - bias) 0.f for e = 0.
double ValueOf(const Format& format, uint16_t bits) {
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  const int exponent = bits >> format.fraction_bits & ((1 << format.exponent_bits) - 1);
  const double fraction = bits & ((1 << format.fraction_bits) - 1);
  const double one = std::ldexp(1.0, format.fraction_bits);
  const double magnitude = exponent == 0
                               ? std::ldexp(fraction, 1 - bias - format.fraction_bits)
                               : std::ldexp(one + fraction, exponent - bias - format.fraction_bits);
  return bits >> 15 != 0 ? -magnitude : magnitude;
}

std::vector<uint16_t> Narrowed(const Format& format, const std::vector<float>& x) {
  std::vector<uint16_t> out(x.size());
  format.narrow(x.data(), out.data(), x.size());
  return out;
}

TEST(CastsTest, EveryFiniteValueWidensExactlyAndComesBack) {
  for (const Format& format : kFormats) {
    SCOPED_TRACE(format.name);
    std::vector<uint16_t> all;
    for (int sign = 0; sign <= 0x8000; sign += 0x8000) {
      for (int i = 0; i <= format.greatest; ++i) all.push_back(static_cast<uint16_t>(sign | i));
    }
    ForEachTarget([&] {
      std::vector<float> wide(all.size());
      format.widen(all.data(), wide.data(), all.size());
      for (size_t i = 0; i < all.size(); ++i) {
        ASSERT_EQ(wide[i], ValueOf(format, all[i])) << "bits " << all[i];
        ASSERT_EQ(std::signbit(wide[i]), all[i] >> 15 != 0);
      }
      EXPECT_EQ(Narrowed(format, wide), all);
    });
  }
}

TEST(CastsTest, RoundsToNearestEvenAtEveryBoundary) {
  for (const Format& format : kFormats) {
    SCOPED_TRACE(format.name);
    std::vector<float> inputs;
    std::vector<uint16_t> want;
    for (uint16_t low = 0; low < format.greatest; ++low) {
      const auto high = static_cast<uint16_t>(low + 1);
      const double middle = (ValueOf(format, low) + ValueOf(format, high)) / 2;
      const auto tie = static_cast<float>(middle);
      ASSERT_EQ(tie, middle) << "a float holds the middle exactly";
      const uint16_t even = low % 2 == 0 ? low : high;
      const float cases[] = {tie, std::nextafter(tie, 0.0f), std::nextafter(tie, 3.4e38f)};
      const uint16_t results[] = {even, low, high};
      for (int i = 0; i < 3; ++i) {
        inputs.insert(inputs.end(), {cases[i], -cases[i]});
        want.insert(want.end(), {results[i], static_cast<uint16_t>(results[i] | 0x8000)});
      }
    }
    ForEachTarget([&] { EXPECT_EQ(Narrowed(format, inputs), want); });
  }
}

TEST(CastsTest, WhatIsBeyondTheRangeBecomesTheGreatestValueAndNanStays) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float payload_nan = std::bit_cast<float>(0x7F800001u);
  for (const Format& format : kFormats) {
    SCOPED_TRACE(format.name);
    const auto greatest = static_cast<float>(ValueOf(format, format.greatest));
    const auto negative = static_cast<uint16_t>(format.greatest | 0x8000);
    const auto negative_nan = static_cast<uint16_t>(format.nan | 0x8000);
    ForEachTarget([&] {
      EXPECT_EQ(
          Narrowed(format, {greatest, std::nextafter(greatest, infinity), infinity, -infinity,
                            3.4028235e38f, -3.4028235e38f, nan, -nan, payload_nan}),
          (std::vector<uint16_t>{format.greatest, format.greatest, format.greatest, negative,
                                 format.greatest, negative, format.nan, negative_nan, format.nan}));
      const uint16_t special[] = {static_cast<uint16_t>(format.nan),
                                  static_cast<uint16_t>(format.greatest + 1),
                                  static_cast<uint16_t>(negative + 1)};
      float wide[3];
      format.widen(special, wide, 3);
      EXPECT_TRUE(std::isnan(wide[0]));
      EXPECT_EQ(wide[1], infinity);
      EXPECT_EQ(wide[2], -infinity);
    });
  }
}

TEST(CastsTest, EveryTargetGivesTheScalarBitsAtAnyLengthAndAlignment) {
  for (const Format& format : kFormats) {
    for (const size_t n : TestSizes()) {
      for (size_t offset = 0; offset < 4; ++offset) {
        const std::vector<float> x = ValuesWithNonFinite(n + offset, 11);
        std::vector<uint16_t> narrow_want(n + offset + 1, 0xABCD);
        std::vector<float> wide_want(n + offset + 1, -7.0f);
        ASSERT_TRUE(SetKernelTarget("scalar").ok());
        format.narrow(x.data() + offset, narrow_want.data() + offset, n);
        format.widen(narrow_want.data() + offset, wide_want.data() + offset, n);
        ForEachTarget([&] {
          std::vector<uint16_t> narrow(n + offset + 1, 0xABCD);
          std::vector<float> wide(n + offset + 1, -7.0f);
          format.narrow(x.data() + offset, narrow.data() + offset, n);
          format.widen(narrow.data() + offset, wide.data() + offset, n);
          EXPECT_EQ(narrow, narrow_want);
          EXPECT_EQ(BitsOf(wide), BitsOf(wide_want));
        });
      }
    }
  }
}

}  // namespace
}  // namespace gradwire
