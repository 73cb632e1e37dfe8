// SPDX-License-Identifier: Apache-2.0
// bf16 and fp16 against their definition, and the error law of rounding to nearest.
#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"

namespace gradwire {
namespace {

struct Format {
  const char* spec;
  int bits;            // of the significand, the leading one too
  int least_exponent;  // of normal values
  double greatest;
};

constexpr Format kFormats[] = {{"bf16", 8, -126, 0x1.FEp127}, {"fp16", 11, -14, 65504}};

// The value of the format that is nearest to x, of two equally near the even one; in double.
double Nearest(const Format& format, double x) {
  const double magnitude = std::fabs(x);
  if (magnitude >= format.greatest) return std::copysign(format.greatest, x);
  const int exponent =
      std::max(magnitude == 0 ? -1000 : std::ilogb(magnitude), format.least_exponent);
  const double step = std::ldexp(1.0, exponent - format.bits + 1);
  return std::copysign(std::nearbyint(magnitude / step) * step, x);
}

TEST(CastTest, EveryCoordinateIsTheNearestValueOfTheFormat) {
  const float greatest = std::numeric_limits<float>::max();
  for (const Format& format : kFormats) {
    const auto codec = Make(format.spec);
    std::vector<float> x = {0.0f,      -0.0f,    1.0f,        1e-45f,      -1e-45f,
                            1e-40f,    2.98e-8f, 2.9803e-8f,  6.1e-5f,     65504.0f,
                            65519.0f,  65520.0f, 65536.0f,    -1e38f,      greatest,
                            -greatest, 3.39e38f, 1.00390625f, 1.01171875f, 1.00048828125f};
    for (const float value : RandomValues(4000, 8)) x.push_back(value);
    for (const float value : RandomValues(1000, 9)) x.push_back(std::ldexp(value, -20));
    const std::string payload = Encoded(*codec, KeyOf(x.size()), x);
    EXPECT_EQ(payload.size(), 2 * x.size());
    const std::vector<float> decoded = Decoded(*codec, KeyOf(x.size()), payload);
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(double{decoded[i]}, Nearest(format, x[i])) << format.spec << " " << x[i];
    }
  }
}

// Values uniform in [1, 2) are off by a uniform share of a step: E = step^2 / 12, variance
// step^4 / 180.
TEST(CastTest, ErrorIsATwelfthOfASquaredStepAndWithinTheDocumentedBound) {
  const size_t n = 10000;
  std::mt19937 random(10);
  std::uniform_real_distribution<float> uniform(1.0f, 2.0f);
  std::vector<float> x(n);
  for (float& value : x) value = uniform(random);
  for (const Format& format : kFormats) {
    const auto codec = Make(format.spec);
    const std::vector<float> decoded = Decoded(*codec, KeyOf(n), Encoded(*codec, KeyOf(n), x));
    const double step = std::ldexp(1.0, 1 - format.bits);
    double sum = 0;
    for (size_t i = 0; i < n; ++i) {
      const double off = double{decoded[i]} - double{x[i]};
      EXPECT_LE(std::fabs(off), x[i] * std::ldexp(1.0, -format.bits));
      sum += off * off / (step * step);
    }
    EXPECT_NEAR(sum / n, 1.0 / 12, 3 * std::sqrt(1.0 / 180 / n)) << format.spec;
  }
}

TEST(CastTest, AggregateIsRoundedOnceFromTheFp32Mean) {
  for (const Format& format : kFormats) {
    const auto codec = Make(format.spec);
    const BlockKey key = KeyOf(300);
    const BlockValues mean = MeanOf(*codec, key, 3, 11);
    std::string payload;
    codec->EncodeUpdate(key, mean, &payload);
    EXPECT_EQ(payload.size(), 600u);
    BlockValues update;
    ASSERT_TRUE(codec->DecodeUpdate(key, payload, &update).ok());
    for (size_t i = 0; i < 300; ++i) {
      EXPECT_EQ(double{update.values[i]}, Nearest(format, mean.values[i]));
    }
  }
}

}  // namespace
}  // namespace gradwire
