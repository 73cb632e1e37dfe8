// SPDX-License-Identifier: Apache-2.0
// int8 against its definition in double precision, its error law, and bytes that are wrong.
#include <cmath>
#include <cstring>
#include <limits>

#include "common/base/little_endian.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"

namespace gradwire {
namespace {

// |x| of the code that is nearest to x / scale, ties to even: the definition, in double.
double NearestCode(double x, double scale) {
  const double quotient = x / scale;
  const double below = std::floor(quotient);
  const double rest = quotient - below;
  if (rest != 0.5) return rest < 0.5 ? below : below + 1;
  return std::fmod(below, 2) == 0 ? below : below + 1;
}

TEST(Int8Test, PayloadIsTheScalesAndThenTheNearestCodes) {
  for (const size_t block : {8, 256, 1000}) {
    for (const size_t n : {1, 7, 255, 257, 3001}) {
      const auto codec = Make("int8:" + std::to_string(block));
      const std::vector<float> x = RandomValues(n, 3);
      const std::string payload = Encoded(*codec, KeyOf(n), x);
      const size_t scales = (n + block - 1) / block;
      ASSERT_EQ(payload.size(), 4 * scales + n);
      for (size_t i = 0; i < n; ++i) {
        float greatest = 0;
        const size_t begin = i / block * block;
        for (size_t j = begin; j < std::min(n, begin + block); ++j) {
          greatest = std::max(greatest, std::fabs(x[j]));
        }
        const auto scale = LoadLittleEndian<float>(payload.data() + i / block * 4);
        EXPECT_EQ(scale, greatest / 127.0f);
        const int code = static_cast<int8_t>(payload[4 * scales + i]);
        // The quotient is a float: where it lies halfway, it may round to the other side.
        const double quotient = double{x[i]} / double{scale};
        const double off_tie = std::fabs(quotient - std::floor(quotient) - 0.5);
        if (off_tie > 1e-5) {
          EXPECT_EQ(code, NearestCode(x[i], scale));
        }
      }
    }
  }
}

TEST(Int8Test, TiesGoToTheEvenCode) {
  const auto codec = Make("int8");
  const std::vector<float> x = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f};
  EXPECT_EQ(Decoded(*codec, KeyOf(8), Encoded(*codec, KeyOf(8), x)),
            (std::vector<float>{127, 0, 2, 2, 0, -2, -2, 126}));
}

// A quotient that is uniform between two codes is off by 1/12 of a step squared, with variance
// 1/180: Gaussian values are so to many digits, since a step is far below their spread.
TEST(Int8Test, ErrorIsATwelfthOfASquaredStepAndWithinTheDocumentedBound) {
  const auto codec = Make("int8");
  const size_t n = 10000;
  const std::vector<float> x = RandomValues(n, 5);
  const std::string payload = Encoded(*codec, KeyOf(n), x);
  const std::vector<float> decoded = Decoded(*codec, KeyOf(n), payload);
  double sum = 0;
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < n; ++i) {
    const double scale = LoadLittleEndian<float>(payload.data() + i / 256 * 4);
    const double off = double{decoded[i]} - double{x[i]};
    EXPECT_LE(std::fabs(off), scale / 2 * (1 + 1e-5));
    sum += off * off / (scale * scale);
    error += off * off;
    norm += double{x[i]} * double{x[i]};
  }
  EXPECT_NEAR(sum / n, 1.0 / 12, 3 * std::sqrt(1.0 / 180 / n));
  EXPECT_LE(error, 256.0 / (254 * 254) * norm);
  EXPECT_NEAR(error / norm, 5e-5, 0.5e-5) << "as documented for normal values";
}

// The worst case of the bound: one coordinate gives the scale, the others lie halfway.
TEST(Int8Test, BoundIsReachedByValuesHalfwayBetweenCodes) {
  const auto codec = Make("int8:8");
  const std::vector<float> x = {127, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f};
  const std::vector<float> decoded = Decoded(*codec, KeyOf(8), Encoded(*codec, KeyOf(8), x));
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < 8; ++i) {
    error += (decoded[i] - x[i]) * (decoded[i] - x[i]);
    norm += x[i] * x[i];
  }
  EXPECT_DOUBLE_EQ(error, 7 * 0.25);
  EXPECT_LE(error, 8.0 / (254 * 254) * norm);
  EXPECT_GT(error, 0.87 * 8.0 / (254 * 254) * norm);
}

TEST(Int8Test, LimitsOfFloatComeThrough) {
  const auto codec = Make("int8");
  const float greatest = std::numeric_limits<float>::max();
  struct Case {
    float x;
    double most_off;  // as a share of x
  };
  for (const Case& c : {Case{greatest, 1e-6}, Case{-greatest, 1e-6}, Case{1e38f, 1e-6},
                        Case{1e-38f, 1e-3}, Case{64e-45f * 1.4f, 1.0}, Case{1e-45f, 1.0}}) {
    const float decoded = Decoded(*codec, KeyOf(1), Encoded(*codec, KeyOf(1), {c.x}))[0];
    EXPECT_TRUE(std::isfinite(decoded));
    EXPECT_LE(std::fabs(double{decoded} - double{c.x}), c.most_off * std::fabs(c.x)) << c.x;
  }
}

TEST(Int8Test, WrongScalesAndCodesAreRefusedWithTheReason) {
  const auto codec = Make("int8:8");
  const BlockKey key = KeyOf(20);
  const std::string valid = Encoded(*codec, key, RandomValues(20, 6));
  struct Case {
    size_t at;
    std::string bytes;
    const char* message;
  };
  const Case cases[] = {{4, std::string("\x00\x00\x80\x7F", 4), "scale 1 is inf"},
                        {8, std::string("\x01\x00\x80\x7F", 4), "scale 2 is nan"},
                        {0, std::string("\x00\x00\x80\xBF", 4), "scale 0 is -1"},
                        {12 + 7, "\x80", "coordinate 7 has the code -128"},
                        {0, std::string("\xFF\xFF\x7F\x7F", 4), "must be finite"}};
  for (const Case& c : cases) {
    std::string payload = valid;
    payload.replace(c.at, c.bytes.size(), c.bytes);
    Accumulator sum;
    const absl::Status status = codec->Accumulate(key, payload, &sum);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(c.message));
    EXPECT_EQ(sum.payloads, 0u);
  }
}

TEST(Int8Test, SubBlocksOfOtherLengthsAreRefused) {
  for (const char* spec : {"int8:1", "int8:12", "int8:8.5", "int8:-8", "int8:1e9"}) {
    EXPECT_EQ(MakeCodec(spec).status().code(), absl::StatusCode::kInvalidArgument) << spec;
  }
}

}  // namespace
}  // namespace gradwire
