// SPDX-License-Identifier: Apache-2.0
// threshold: what reaches tau is sent, in gradient units, and the error is absolute.
#include <cmath>

#include "common/codec/index_coding.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"

namespace gradwire {
namespace {

std::vector<float> Sent(const char* spec, const std::vector<float>& x, float unit = 1) {
  BlockKey key = KeyOf(x.size());
  key.unit = unit;
  const auto codec = Make(spec);
  return Decoded(*codec, key, Encoded(*codec, key, x));
}

TEST(ThresholdTest, SendsWhatReachesTauAndNothingElse) {
  const std::vector<float> x = {0.5f, -0.5f, 0.49999997f, -0.49999997f, 3, -1e38f, 0, 1e-45f};
  EXPECT_EQ(Sent("threshold:0.5", x), (std::vector<float>{0.5f, -0.5f, 0, 0, 3, -1e38f, 0, 0}));
}

// Of an all-negative block a comparison with the signed greatest value would send everything.
TEST(ThresholdTest, AllNegativeBlocksAreComparedByMagnitude) {
  const std::vector<float> x = {-0.1f, -0.2f, -0.3f, -2};
  EXPECT_EQ(Sent("threshold:1", x), (std::vector<float>{0, 0, 0, -2}));
  EXPECT_EQ(Sent("threshold:5", x), std::vector<float>(4, 0.0f));
}

TEST(ThresholdTest, TauIsInGradientUnits) {
  const std::vector<float> x = {0.05f, -0.25f, 0.0625f, 4};
  EXPECT_EQ(Sent("threshold:0.5", x, 0.125f), (std::vector<float>{0, -0.25f, 0.0625f, 4}));
  // A learning rate of zero: what the residual holds goes out; zeros do not.
  EXPECT_EQ(Sent("threshold:0.5", {0, 1e-45f, 0, 0, 0, 0}, 0),
            (std::vector<float>{0, 1e-45f, 0, 0, 0, 0}));
  EXPECT_EQ(Sent("threshold:0.5", {1, 2e38f}, 3e38f), (std::vector<float>{0, 2e38f}));
  EXPECT_EQ(Sent("threshold:5", {1, 3e38f}, 3e38f), (std::vector<float>{0, 0})) << "limit infinite";
}

TEST(ThresholdTest, NothingToSendIsAPayloadOfItsOwnAndAMeanOfZeros) {
  const auto codec = Make("threshold:10");
  for (const size_t n : {1, 2, 1000}) {
    const BlockKey key = KeyOf(n);
    const std::string payload = Encoded(*codec, key, std::vector<float>(n, 9.0f));
    EXPECT_EQ(payload, std::string(6, '\0')) << "form, count, parameter";
    Accumulator sum;
    ASSERT_TRUE(codec->Accumulate(key, payload, &sum).ok());
    ASSERT_TRUE(codec->Accumulate(key, payload, &sum).ok());
    BlockValues mean;
    codec->Mean(key, sum, &mean);
    EXPECT_FALSE(mean.dense);
    EXPECT_TRUE(mean.indices.empty() && mean.values.empty());
    std::string update;
    codec->EncodeUpdate(key, mean, &update);
    EXPECT_EQ(update, payload);
    // Others still count: the mean divides by all.
    const std::string all = Encoded(*codec, key, std::vector<float>(n, 12.0f));
    ASSERT_TRUE(codec->Accumulate(key, all, &sum).ok());
    codec->Mean(key, sum, &mean);
    EXPECT_EQ(Dense(mean, n), std::vector<float>(n, 4.0f));
  }
}

// Deterministic: the error is the energy below tau, exactly, and at most n tau^2.
TEST(ThresholdTest, ErrorIsTheEnergyBelowTau) {
  for (const float tau : {0.01f, 0.3f, 1.0f, 2.5f, 10.0f}) {
    const auto codec = Make("threshold:" + std::to_string(tau));
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const std::vector<float> x = RandomValues(501, seed);
      std::vector<float> residual = x;
      std::string payload;
      codec->Encode(KeyOf(501), absl::MakeSpan(residual), &payload);
      double want = 0;
      double left = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        if (std::fabs(x[i]) < tau) want += double{x[i]} * double{x[i]};
        left += double{residual[i]} * double{residual[i]};
      }
      EXPECT_DOUBLE_EQ(left, want);
      EXPECT_LE(left, 501 * double{tau} * double{tau});
    }
  }
}

TEST(ThresholdTest, EveryCountComesThroughInItsForm) {
  const size_t n = 80;
  const auto codec = Make("threshold:1");
  for (size_t count = 0; count <= n; ++count) {
    std::vector<float> x(n, 0.25f);
    for (size_t i = 0; i < count; ++i) x[i * 37 % n] = static_cast<float>(i + 1);
    const std::string payload = Encoded(*codec, KeyOf(n), x);
    EXPECT_EQ(payload[0], static_cast<char>(IndexFormFor(count, n)));
    for (float& value : x) value = value < 1 ? 0 : value;
    EXPECT_EQ(Decoded(*codec, KeyOf(n), payload), x);
  }
}

}  // namespace
}  // namespace gradwire
