// SPDX-License-Identifier: Apache-2.0
// The codec `natural`: bytes worked out by hand, its variance and means over 10,000 draws, and
// what it refuses.
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"
#include "tests/common/codec/unbiased.h"

namespace gradwire {

namespace {

using testing::HasSubstr;

constexpr size_t kDraws = 10000;

std::unique_ptr<Codec> MakeNatural() { return Make("natural"); }

TEST(NaturalTest, PowersOfTwoAreSentAsTheyAre) {
  const std::vector<float> x = {1, -2, 0, 0.5F, -0x1p-126F, 0x1p127F, -0.0F, 4, -0x1p100F};
  const auto codec = MakeNatural();
  const std::string payload = Encoded(*codec, KeyOf(9), x);
  EXPECT_EQ(payload, std::string("\x7F\x80\x00\x7E\x01\xFE\x00\x81\xE3\x12\x01", 11));
  EXPECT_EQ(Decoded(*codec, KeyOf(9), payload), x);
}

// How each coordinate is rounded.
std::vector<Rounding> RoundingOf(const std::vector<float>& x) {
  std::vector<Rounding> rounding;
  for (const float value : x) {
    const double magnitude = std::fabs(double{value});
    const bool denormal = magnitude < 0x1p-126;
    const double below = denormal ? 0 : std::exp2(std::floor(std::log2(magnitude)));
    const double step = denormal ? 0x1p-126 : below;
    rounding.push_back({.step = step, .chance = (magnitude - below) / step});
  }
  return rounding;
}

TEST(NaturalTest, VarianceIsTheClosedFormAndEveryCoordinateIsUnbiased) {
  struct Case {
    const char* name;
    std::vector<float> x;
  };
  std::vector<float> worst(200, 4.0f / 3);
  const Case cases[] = {{"normal", RandomValues(203, 8)},
                        {"small", RandomValues(203, 9, 1e-30f)},
                        {"around the least normal", RandomValues(203, 10, 1.2e-38f)},
                        {"worst case", worst}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const std::vector<Rounding> rounding = RoundingOf(c.x);
    double variance = 0;
    for (const Rounding& one : rounding) variance += one.variance();
    const MeasuredError measured = MeasureError(*MakeNatural(), KeyOf(c.x.size()), c.x, kDraws);
    ExpectError(measured, variance / SquaredNorm(c.x));
    ExpectMeans(measured, std::vector<double>(c.x.begin(), c.x.end()), rounding, kDraws);
  }
  double variance = 0;
  for (const Rounding& one : RoundingOf(worst)) variance += one.variance();
  EXPECT_NEAR(variance / SquaredNorm(worst), 1.0 / 8, 1e-6) << "omega, attained";
}

TEST(NaturalTest, DenormalsAreRoundedToZeroOrTheLeastNormal) {
  const std::vector<float> x(1000, -0x1p-128F);
  const auto codec = MakeNatural();
  const std::vector<float> sent = Decoded(*codec, KeyOf(1000), Encoded(*codec, KeyOf(1000), x));
  EXPECT_EQ(std::set<float>(sent.begin(), sent.end()), (std::set<float>{0, -0x1p-126F}));
}

TEST(NaturalTest, AboveTheGreatestPowerOfTwoThatIsSent) {
  const std::vector<float> x = {std::numeric_limits<float>::max(), -2e38F, 1.8e38F};
  const auto codec = MakeNatural();
  EXPECT_EQ(Decoded(*codec, KeyOf(3), Encoded(*codec, KeyOf(3), x)),
            (std::vector<float>{0x1p127F, -0x1p127F, 0x1p127F}));
}

TEST(NaturalTest, WorkersAndStepsDrawDifferently) {
  const auto codec = MakeNatural();
  const std::vector<float> x = RandomValues(512, 7);
  BlockKey key = KeyOf(512);
  const std::string first = Encoded(*codec, key, x);
  EXPECT_EQ(Encoded(*codec, key, x), first);
  key.rank = 0;
  EXPECT_NE(Encoded(*codec, key, x), first);
  EXPECT_NE(Encoded(*codec, KeyOf(512, 2), x), first);
}

TEST(NaturalTest, BadExponentsAndBitsBeyondTheBlockAreRefused) {
  struct Case {
    std::string payload;  // of three coordinates
    const char* message;
  };
  const Case cases[] = {
      {std::string("\x01\x02\xFF\x00", 4), "natural: coordinate 2 has the exponent 255"},
      {std::string("\x01\x02\x03\x08", 4), "natural: the last byte is 8; its upper 5 bits"},
      {std::string("\x01\x02\x03", 3), "natural: the payload has 3 bytes"},
  };
  for (const Case& c : cases) {
    Accumulator sum;
    const absl::Status status = MakeNatural()->Accumulate(KeyOf(3), c.payload, &sum);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
    EXPECT_EQ(sum.payloads, 0u);
  }
}

}  // namespace
}  // namespace gradwire
