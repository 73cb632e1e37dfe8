// SPDX-License-Identifier: Apache-2.0
// The codec `sign_majority`: votes against a count, ties, the worker's momentum, and its bytes.
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random/counter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"

namespace gradwire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(SignMajorityTest, OneBitACoordinateUpAndDownAndNothingElse) {
  for (const size_t n : {1, 7, 8, 9, 64, 65, 1000, 235146}) {
    const auto codec = Make("sign_majority");
    const BlockValues mean = MeanOf(*codec, KeyOf(n), 3, 1);
    std::string down;
    codec->EncodeUpdate(KeyOf(n), mean, &down);
    EXPECT_EQ(Encoded(*codec, KeyOf(n), RandomValues(n, 1)).size(), (n + 7) / 8);
    EXPECT_EQ(down.size(), (n + 7) / 8);
    EXPECT_EQ(codec->MaxPayloadBytes(n), (n + 7) / 8);
  }
}

TEST(SignMajorityTest, SendsTheSignBitAndZeroIsPositive) {
  const std::vector<float> x = {-1, 2, 0, -0.0F, -1e-45F, 3e38F, -3e38F, 1, 1, -1};
  const auto codec = Make("sign_majority");
  const std::string payload = Encoded(*codec, KeyOf(10), x);
  EXPECT_EQ(payload, "\x51\x02");
  EXPECT_THAT(Decoded(*codec, KeyOf(10), payload), ElementsAre(-1, 1, 1, 1, -1, 1, -1, 1, 1, -1));
}

// Every number of workers at which a plane is added, or nearly so; -1, +1, and how often even.
TEST(SignMajorityTest, IsWhatMostSayAndTheCoinWhereVotesAreEven) {
  const auto codec = Make("sign_majority");
  const BlockKey key = KeyOf(1003, 17);
  std::vector<uint32_t> coins((key.size + 31) / 32);
  FillRandomWords(
      {.seed = key.seed, .purpose = Purpose::kTie, .step = key.step, .block = key.block},
      absl::MakeSpan(coins));
  Accumulator sum;
  for (int round = 0; round < 2; ++round) {
    sum.Clear();  // what the round before left must not count
    std::vector<int> votes(key.size, 0);
    for (uint32_t workers = 1; workers <= 40; ++workers) {
      const std::vector<float> x = RandomValues(key.size, 100 * round + workers);
      ASSERT_TRUE(codec->Accumulate(key, Encoded(*codec, key, x), &sum).ok());
      std::vector<float> want;
      for (size_t i = 0; i < key.size; ++i) {
        votes[i] += x[i] < 0 ? -1 : 1;
        const int coin = (coins[i / 32] >> i % 32 & 1) != 0 ? -1 : 1;
        want.push_back(votes[i] > 0 ? 1.0f : votes[i] < 0 ? -1.0f : static_cast<float>(coin));
      }
      BlockValues mean;
      codec->Mean(key, sum, &mean);
      EXPECT_TRUE(mean.dense);
      EXPECT_EQ(mean.values, want) << workers << " workers";
      std::string down;
      codec->EncodeUpdate(key, mean, &down);
      BlockValues update;
      ASSERT_TRUE(codec->DecodeUpdate(key, down, &update).ok());
      EXPECT_EQ(update.values, want);
    }
  }
}

TEST(SignMajorityTest, CoinsAreFairAndNewEachStep) {
  const auto codec = Make("sign_majority");
  const size_t n = 100000;
  std::vector<std::vector<float>> means;
  for (const uint64_t step : {1, 2}) {
    const BlockKey key = KeyOf(n, step);
    Accumulator sum;
    for (const float value : {1.0f, -1.0f}) {
      ASSERT_TRUE(
          codec->Accumulate(key, Encoded(*codec, key, std::vector<float>(n, value)), &sum).ok());
    }
    BlockValues mean;
    codec->Mean(key, sum, &mean);
    means.push_back(mean.values);
  }
  double total = 0;
  double product = 0;
  for (size_t i = 0; i < n; ++i) {
    total += means[0][i];
    product += means[0][i] * means[1][i];
  }
  const double limit = 4 * std::sqrt(static_cast<double>(n));
  EXPECT_NEAR(total, 0, limit);
  EXPECT_NEAR(product, 0, limit);
}

TEST(SignMajorityTest, MomentumAtTheWorkerIsAnAverageOfGradients) {
  const auto codec = Make("sign_majority:momentum=0.75");
  EXPECT_TRUE(codec->traits().momentum);
  std::vector<float> momentum(3, 0.0f);
  std::vector<float> gradient = {4, -8, 0};
  codec->Prepare(KeyOf(3), {}, absl::MakeSpan(gradient), absl::MakeSpan(momentum));
  EXPECT_THAT(momentum, ElementsAre(1, -2, 0));
  EXPECT_EQ(gradient, momentum);
  gradient = {-2, 16, -4};
  codec->Prepare(KeyOf(3), {}, absl::MakeSpan(gradient), absl::MakeSpan(momentum));
  EXPECT_THAT(momentum, ElementsAre(0.25F, 2.5F, -1));
  EXPECT_EQ(gradient, momentum);
  EXPECT_EQ(Encoded(*codec, KeyOf(3), gradient), std::string(1, 0b100));
}

TEST(SignMajorityTest, MomentumOfTheGreatestFloatsStaysFinite) {
  const float greatest = std::numeric_limits<float>::max();
  for (int thousandth = 1; thousandth < 1000; ++thousandth) {
    const auto codec = Make(absl::StrCat("sign_majority:momentum=", thousandth / 1000.0));
    std::vector<float> momentum = {greatest, -greatest};
    for (int step = 0; step < 5; ++step) {
      std::vector<float> gradient = {greatest, -greatest};
      codec->Prepare(KeyOf(2), {}, absl::MakeSpan(gradient), absl::MakeSpan(momentum));
    }
    EXPECT_TRUE(std::isfinite(momentum[0]));
    EXPECT_EQ(momentum[0], -momentum[1]);
    EXPECT_NEAR(momentum[0] / greatest, 1, 1e-6);
  }
}

TEST(SignMajorityTest, TraitsSayWhatMayGoWithIt) {
  const CodecTraits traits = Make("sign_majority")->traits();
  EXPECT_EQ(traits.feedback, Feedback::kNone);
  EXPECT_TRUE(traits.only_its_feedback);
  EXPECT_TRUE(traits.unit_free);
  EXPECT_TRUE(traits.compact);
  EXPECT_FALSE(traits.momentum);
}

TEST(SignMajorityTest, BitsBeyondTheBlockAreRefusedUpAndDown) {
  const auto codec = Make("sign_majority");
  Accumulator sum;
  BlockValues update;
  const std::string bad("\xFF\x04", 2);
  for (const absl::Status& status :
       {codec->Accumulate(KeyOf(10), bad, &sum), codec->DecodeUpdate(KeyOf(10), bad, &update)}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("sign_majority: the last byte is 4; its upper 6 bits"));
  }
  EXPECT_EQ(sum.payloads, 0u);
  EXPECT_TRUE(update.values.empty());
}

}  // namespace
}  // namespace gradwire
