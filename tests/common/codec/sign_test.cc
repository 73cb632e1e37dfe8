// SPDX-License-Identifier: Apache-2.0
// The codecs `sign` and `one_bit`: payloads worked out by hand, their mu, and what they refuse.
#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"
#include "tests/common/codec/unbiased.h"

namespace gradwire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string Bytes(const std::vector<float>& scales, const std::string& signs) {
  return std::string(reinterpret_cast<const char*>(scales.data()), 4 * scales.size()) + signs;
}

TEST(SignTest, SendsBitsAndTheMeanMagnitudeOfEachSubBlock) {
  const std::vector<float> x = {1, -2, 3, -4, 0, -0.0F, 6, -8, -1, 5};
  const auto codec = Make("sign:block=8");
  const std::string payload = Encoded(*codec, KeyOf(10), x);
  EXPECT_EQ(payload, Bytes({3, 3}, "\x8A\x01"));
  EXPECT_THAT(Decoded(*codec, KeyOf(10), payload), ElementsAre(3, -3, 3, -3, 3, 3, 3, -3, -3, 3));
}

TEST(OneBitTest, SendsBitsAndTwoMeansOfEachSubBlock) {
  const std::vector<float> x = {1, -2, 3, -4, 0, -0.0F, 6, -9, -1, -5};
  const auto codec = Make("one_bit:block=8");
  const std::string payload = Encoded(*codec, KeyOf(10), x);
  EXPECT_EQ(payload, Bytes({2, 5, 0, 3}, "\x8A\x03"));
  EXPECT_THAT(Decoded(*codec, KeyOf(10), payload), ElementsAre(2, -5, 2, -5, 2, 2, 2, -5, -3, -3));
}

// Of one sub-block: its part of |x|^2 that is kept, as the file's head says.
double Kept(bool two_means, const std::vector<float>& x, size_t begin, size_t end) {
  double sums[2] = {};
  double counts[2] = {};
  for (size_t i = begin; i < end; ++i) {
    const size_t side = two_means && x[i] < 0 ? 1 : 0;
    sums[side] += std::fabs(double{x[i]});
    counts[side] += 1;
  }
  return sums[0] * sums[0] / std::max(counts[0], 1.0) +
         sums[1] * sums[1] / std::max(counts[1], 1.0);
}

TEST(SignTest, ErrorIsThatOfMuToTheRoundingOfTheScales) {
  struct Case {
    const char* spec;
    size_t length;
  };
  const Case cases[] = {{"sign", 4096},
                        {"sign:block=64", 64},
                        {"sign:block=0", 10007},
                        {"one_bit", 4096},
                        {"one_bit:block=64", 64},
                        {"one_bit:block=8", 8},
                        {"one_bit:block=0", 10007}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.spec);
    std::vector<float> x = RandomValues(10007, 4);
    for (size_t i = 0; i < 700; ++i) x[i] = -std::fabs(x[i]);  // a sub-block with no other sign
    for (float& value : x) value += 0.3f;
    const bool two_means = c.spec[0] == 'o';
    double kept = 0;
    for (size_t begin = 0; begin < x.size(); begin += c.length) {
      kept += Kept(two_means, x, begin, std::min(begin + c.length, x.size()));
    }
    const MeasuredError measured = MeasureError(*Make(c.spec), KeyOf(x.size()), x, 2);
    EXPECT_NEAR(measured.mean, 1 - kept / SquaredNorm(x), 1e-6);
    EXPECT_LT(measured.mean, 1) << "a contraction";
  }
}

TEST(SignTest, KeepsTwoOverPiOfNormalValues) {
  const std::vector<float> x = RandomValues(200000, 5, 1e-3f);
  const MeasuredError measured = MeasureError(*Make("sign"), KeyOf(x.size()), x, 1);
  EXPECT_NEAR(1 - measured.mean, 2 / M_PI, 0.005);
}

TEST(OneBitTest, ErrorIsNeverAboveThatOfSign) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    std::vector<float> x = RandomValues(500, seed);
    for (float& value : x) value += 0.1f * static_cast<float>(seed);
    const BlockKey key = KeyOf(x.size());
    EXPECT_LE(MeasureError(*Make("one_bit:block=64"), key, x, 1).mean,
              MeasureError(*Make("sign:block=64"), key, x, 1).mean * (1 + 1e-6));
  }
}

TEST(SignTest, GreatestFloatsAndDenormalsGiveFiniteMeans) {
  const float greatest = std::numeric_limits<float>::max();
  for (const char* spec : {"sign:block=0", "one_bit:block=0"}) {
    for (const float value : {greatest, -greatest, 1e38f, 1e-45f, -1e-40f}) {
      const std::vector<float> x(10001, value);
      const auto codec = Make(spec);
      EXPECT_EQ(Decoded(*codec, KeyOf(x.size()), Encoded(*codec, KeyOf(x.size()), x)), x) << spec;
    }
  }
}

TEST(SignTest, BadScalesAndBitsBeyondTheBlockAreRefused) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  struct Case {
    const char* spec;
    std::string payload;
    const char* message;
  };
  const Case cases[] = {
      {"sign:block=8", Bytes({1, kNan}, "ab"), "sign: scale 1 is nan"},
      {"sign:block=8", Bytes({kInfinity, 1}, "ab"), "sign: scale 0 is inf"},
      {"sign:block=8", Bytes({-1, 1}, {0, 0}), "sign: scale 0 is -1"},
      {"sign:block=8", Bytes({1, 1}, {0, 4}), "sign: the last byte is 4; its upper 6 bits"},
      {"sign:block=8", Bytes({1, 1}, {0, 0, 0}), "sign: the payload has 11 bytes; 2 scales"},
      {"one_bit:block=8", Bytes({1, 1, 1, -1}, {0, 0}), "one_bit: scale 3 is -1"},
      {"one_bit:block=8", Bytes({1, 1, 1, 1}, {0, '\x80'}), "one_bit: the last byte is 128"},
      {"one_bit:block=8", Bytes({1, 1, 1}, {0, 0}), "one_bit: the payload has 14 bytes"},
  };
  for (const Case& c : cases) {
    Accumulator sum;
    const absl::Status status = Make(c.spec)->Accumulate(KeyOf(10), c.payload, &sum);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
    EXPECT_EQ(sum.payloads, 0u);
    EXPECT_TRUE(sum.sums.empty());
  }
}

TEST(SignTest, ASumBeyondTheFloatLimitIsRefusedNamingTheCoordinate) {
  const auto codec = Make("sign");
  const std::string payload = Encoded(*codec, KeyOf(2000), std::vector<float>(2000, 3e38f));
  Accumulator sum;
  ASSERT_TRUE(codec->Accumulate(KeyOf(2000), payload, &sum).ok());
  std::fill(sum.sums.begin(), sum.sums.begin() + 1500, 0.0f);
  const Accumulator before = sum;
  const absl::Status status = codec->Accumulate(KeyOf(2000), payload, &sum);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("sign: coordinate 1500 has the value 3e+38"));
  EXPECT_EQ(sum.payloads, 1u);
  EXPECT_EQ(sum.sums, before.sums);
}

TEST(SignTest, SubBlocksHaveWholeBytes) {
  for (const char* spec : {"sign:block=7", "sign:block=8.5", "one_bit:block=1"}) {
    EXPECT_THAT(std::string(MakeCodec(spec).status().message()),
                HasSubstr("is not a multiple of 8"));
  }
}

}  // namespace
}  // namespace gradwire
