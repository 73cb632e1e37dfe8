// SPDX-License-Identifier: Apache-2.0
// The codec `two_bit`: codes worked out by hand, its units, its error, and what it refuses.
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

std::string Bytes(float threshold, const std::string& codes) {
  return std::string(reinterpret_cast<const char*>(&threshold), 4) + codes;
}

TEST(TwoBitTest, SendsTheThresholdWhereItIsReached) {
  std::vector<float> x = {0.5F, -0.5F, 0.49F, -0.49F, 0, -7, 3e38F};
  const auto codec = Make("two_bit:tau=0.5");
  const std::string payload = Encoded(*codec, KeyOf(7), x);
  EXPECT_EQ(payload, Bytes(0.5F, {0b00001001, 0b00011000}));
  EXPECT_THAT(Decoded(*codec, KeyOf(7), payload), ElementsAre(0.5F, -0.5F, 0, 0, 0, -0.5F, 0.5F));
  std::string ignored;
  codec->Encode(KeyOf(7), absl::MakeSpan(x), &ignored);
  EXPECT_THAT(x, ElementsAre(0, 0, 0.49F, -0.49F, 0, -6.5F, 3e38F)) << "what is left";
}

TEST(TwoBitTest, TauIsInUnitsOfTheGradientAndTheThresholdTravels) {
  const auto codec = Make("two_bit:tau=0.5");
  BlockKey key = KeyOf(3);
  key.unit = 0.125f;
  const std::string payload = Encoded(*codec, key, {0.0625F, -0.06F, -0.4F});
  EXPECT_EQ(payload, Bytes(0.0625F, {0b00100001}));
  EXPECT_THAT(Decoded(*codec, KeyOf(3), payload), ElementsAre(0.0625F, 0, -0.0625F))
      << "without a look at the unit";
  key.unit = std::numeric_limits<float>::max();
  EXPECT_EQ(Encoded(*Make("two_bit:tau=9"), key, {1, 2, 3}),
            Bytes(std::numeric_limits<float>::max(), {0}));
}

TEST(TwoBitTest, WithFeedbackAConstantGradientBelowTauArrivesOnAverage) {
  const auto codec = Make("two_bit:tau=1");
  std::vector<float> residual(1, 0.0f);
  double sent = 0;
  for (int step = 0; step < 1000; ++step) {
    residual[0] += 0.375f;
    std::string payload;
    codec->Encode(KeyOf(1), absl::MakeSpan(residual), &payload);
    sent += Decoded(*codec, KeyOf(1), payload)[0];
  }
  EXPECT_EQ(sent + residual[0], 375.0);
  EXPECT_LT(residual[0], 1);
}

TEST(TwoBitTest, ErrorIsTheDistanceToTheNearerValueSent) {
  const std::vector<float> x = RandomValues(1003, 12);
  double error = 0;
  for (const float value : x) {
    const double magnitude = std::fabs(double{value});
    const double off = magnitude < 0.75 ? magnitude : magnitude - 0.75;
    error += off * off;
  }
  const MeasuredError measured = MeasureError(*Make("two_bit:tau=0.75"), KeyOf(x.size()), x, 2);
  EXPECT_NEAR(measured.mean, error / SquaredNorm(x), 1e-7);
}

TEST(TwoBitTest, OnlyClassicFeedback) {
  const CodecTraits traits = Make("two_bit")->traits();
  EXPECT_EQ(traits.feedback, Feedback::kClassic);
  EXPECT_TRUE(traits.only_its_feedback);
}

TEST(TwoBitTest, BadThresholdsCodesAndBitsBeyondTheBlockAreRefused) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  struct Case {
    std::string payload;  // of six coordinates
    const char* message;
  };
  const Case cases[] = {
      {Bytes(kNan, {0, 0}), "two_bit: scale 0 is nan"},
      {Bytes(-1, {0, 0}), "two_bit: scale 0 is -1"},
      {Bytes(1, {0, 0xC}), "two_bit: coordinate 5 has the code 3; the greatest is 2"},
      {Bytes(1, {0, 0x10}), "two_bit: the last byte is 16; its upper 4 bits"},
      {Bytes(1, {0}), "two_bit: the payload has 5 bytes; 1 scales and 2 bytes of codes have 6"},
  };
  for (const Case& c : cases) {
    Accumulator sum;
    const absl::Status status = Make("two_bit")->Accumulate(KeyOf(6), c.payload, &sum);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
    EXPECT_EQ(sum.payloads, 0u);
  }
}

}  // namespace
}  // namespace gradwire
