// SPDX-License-Identifier: Apache-2.0
// The codec `terngrad`: bytes worked out by hand, its error and means over 10,000 draws, and what
// it refuses.
#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"
#include "tests/common/codec/unbiased.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

constexpr size_t kDraws = 10000;

std::string Bytes(const std::vector<float>& scales, const std::string& digits) {
  return std::string(reinterpret_cast<const char*>(scales.data()), 4 * scales.size()) + digits;
}

TEST(TerngradTest, FiveTernaryDigitsMakeAByte) {
  const std::vector<float> x = {2, -2, 0, 2, -2, -2, 2, -0.0F, 0.5F};
  const auto codec = Make("terngrad:clip=0,block=8");
  const std::string payload = Encoded(*codec, KeyOf(9), x);
  // 1 + 2*3 + 0*9 + 1*27 + 2*81, then 2 + 1*3 + 0*9 + 1*27
  EXPECT_EQ(payload, Bytes({2, 0.5F}, {static_cast<char>(196), 32}));
  EXPECT_EQ(Decoded(*codec, KeyOf(9), payload), x);
}

struct Law {
  const char* spec;
  double clip;  // 0: none
  size_t length;
};

// What is to be sent on average: x clipped, sub-block by sub-block.
std::vector<double> Clipped(const Law& law, const std::vector<float>& x) {
  std::vector<double> clipped(x.begin(), x.end());
  for (size_t begin = 0; begin < x.size() && law.clip > 0; begin += law.length) {
    const size_t end = std::min(begin + law.length, x.size());
    double squares = 0;
    for (size_t i = begin; i < end; ++i) squares += double{x[i]} * double{x[i]};
    const double limit = law.clip * std::sqrt(squares / static_cast<double>(end - begin));
    for (size_t i = begin; i < end; ++i) clipped[i] = std::clamp(clipped[i], -limit, limit);
  }
  return clipped;
}

TEST(TerngradTest, ErrorIsTheClosedFormAndClippedValuesAreUnbiased) {
  std::vector<float> x = RandomValues(203, 9);
  x[5] = 6.0f;
  x[100] = -4.0f;
  for (const Law& law : {Law{"terngrad", 2.5, 203}, Law{"terngrad:clip=1.5,block=64", 1.5, 64},
                         Law{"terngrad:clip=0", 0, 203}, Law{"terngrad:clip=0,block=40", 0, 40}}) {
    SCOPED_TRACE(law.spec);
    const std::vector<double> clipped = Clipped(law, x);
    std::vector<Rounding> rounding;
    double error = 0;
    for (size_t begin = 0; begin < x.size(); begin += law.length) {
      const size_t end = std::min(begin + law.length, x.size());
      double scale = 0;
      for (size_t i = begin; i < end; ++i) scale = std::max(scale, std::fabs(clipped[i]));
      for (size_t i = begin; i < end; ++i) {
        const double magnitude = std::fabs(clipped[i]);
        const double off = double{x[i]} - clipped[i];
        error += off * off + scale * magnitude - magnitude * magnitude;
        rounding.push_back({.step = scale, .chance = magnitude / scale});
      }
    }
    const MeasuredError measured = MeasureError(*Make(law.spec), KeyOf(x.size()), x, kDraws);
    ExpectError(measured, error / SquaredNorm(x));
    ExpectMeans(measured, clipped, rounding, kDraws);
  }
}

// The bound of the file's head, attained: one coordinate of 1, others of 1 / (1 + sqrt(m)).
TEST(TerngradTest, WorstCaseIsHalfTheRootOfTheSize) {
  std::vector<float> x(100, 1.0f / 11);
  x[0] = 1;
  const MeasuredError measured = MeasureError(*Make("terngrad:clip=0"), KeyOf(100), x, kDraws);
  ExpectError(measured, 4.5);
}

TEST(TerngradTest, AConstantOrSingleCoordinateIsNotClippedToNothing) {
  const auto codec = Make("terngrad");
  for (const size_t n : {1, 7, 100}) {
    const std::vector<float> x(n, -0.125f);
    EXPECT_EQ(Decoded(*codec, KeyOf(n), Encoded(*codec, KeyOf(n), x)), x);
  }
}

TEST(TerngradTest, GreatestFloatsAndDenormalsStayWhatTheyAre) {
  const float greatest = std::numeric_limits<float>::max();
  for (const char* spec : {"terngrad", "terngrad:clip=0,block=8"}) {
    const auto codec = Make(spec);
    for (const float value : {greatest, -1e38f, 1e-45f, -1e-40f, 0.0f}) {
      const std::vector<float> x(1001, value);
      EXPECT_EQ(Decoded(*codec, KeyOf(1001), Encoded(*codec, KeyOf(1001), x)), x) << value;
    }
  }
}

TEST(TerngradTest, BadScalesAndDigitsAreRefused) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  struct Case {
    std::string payload;  // of seven coordinates
    const char* message;
  };
  const Case cases[] = {
      {Bytes({kInfinity}, {0, 0}), "terngrad: scale 0 is inf"},
      {Bytes({-2}, {0, 0}), "terngrad: scale 0 is -2"},
      {Bytes({1}, {'\xF3', 0}), "digits from coordinate 0 is 243; 5 ternary digits give 242"},
      {Bytes({1}, {'\xF2', 9}), "digits from coordinate 5 is 9; 2 ternary digits give 8"},
      {Bytes({1}, {0}), "terngrad: the payload has 5 bytes; 1 scales and 2 bytes"},
  };
  for (const Case& c : cases) {
    Accumulator sum;
    const absl::Status status = Make("terngrad")->Accumulate(KeyOf(7), c.payload, &sum);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
    EXPECT_EQ(sum.payloads, 0u);
  }
}

}  // namespace
}  // namespace gradwire
