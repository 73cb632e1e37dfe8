// SPDX-License-Identifier: Apache-2.0
// A round whose payloads are kept one by one: for an aggregator, or to see which are too large.
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/combine_block.h"
#include "server/round.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"
#include "tests/server/round_payloads.h"

namespace gradwire {
namespace {

constexpr RoundOptions kKeep = {.keep_payloads = true};

// Two blocks, the second of one row.
std::shared_ptr<const Job> TwoBlocks(const std::string& rest) {
  return MakeTestJob(
      absl::StrCat("model { tensors { tensor { name: 'w' shape: 262145 } } } steps: 100 ", rest));
}

// `value` in the first and the last coordinate: its norm is value times the root of 2.
Payload TwoValues(const Job& job, float value) {
  std::vector<float> values(job.layout.dimension());
  values.front() = value;
  values.back() = value;
  return MakePayload(job, kRoundStep, "base", values);
}

Round Closed(const std::shared_ptr<const Job>& job, const std::vector<float>& values) {
  Round round(job);
  round.Open(kRoundStep, RoundMembers(values.size()), kKeep);
  for (size_t m = values.size(); m-- > 0;) {
    SendTo(&round, static_cast<uint32_t>(m), TwoValues(*job, values[m]));
  }
  round.CloseWithWhole();
  EXPECT_TRUE(round.complete());
  return round;
}

std::vector<uint32_t> Ranks(const Round& round) {
  std::vector<uint32_t> ranks;
  for (const v1::Contributor& used : round.used()) ranks.push_back(used.rank());
  return ranks;
}

std::vector<uint32_t> TooLarge(const Round& round) {
  std::vector<uint32_t> ranks;
  for (const Round::TooLarge& one : round.too_large()) ranks.push_back(one.member.rank());
  return ranks;
}

using Ranked = std::vector<uint32_t>;

TEST(RoundKeptTest, WhatIsLargerThanSoManyMediansIsLeftOutAndTheRestIsAdded) {
  const auto job = TwoBlocks("max_norm_factor: 4");
  const struct {
    const char* name;
    std::vector<float> values;
    Ranked used;
  } cases[] = {
      {"one_far", {1, -2, 100, 3, 2}, {0, 1, 3, 4}},
      {"at_the_limit", {1, 4, 1}, {0, 1, 2}},
      {"just_above", {1, 4.001f, 1}, {0, 2}},
      {"several", {1, 5, -5, 1, 1}, {0, 3, 4}},
      {"even_number", {1, 3, 8, 8.25f}, {0, 1, 2, 3}},  // the median is 5.5
      {"the_greatest_floats", {3e38f, 1, -3e38f, 1, 1}, {1, 3, 4}},
      {"two_cannot_tell", {1, 1000}, {0, 1}},
      {"most_send_nothing", {0, 0, 7}, {0, 1, 2}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Round round = Closed(job, c.values);
    EXPECT_EQ(Ranks(round), c.used);
    EXPECT_EQ(TooLarge(round).size() + c.used.size(), c.values.size());
    EXPECT_EQ(round.RefusedMember(), nullptr);
    float sum = 0;
    for (const uint32_t rank : c.used) sum += c.values[rank];
    EXPECT_EQ(round.sum(0).sums.front(), sum);
    EXPECT_EQ(round.sum(1).sums.back(), sum);
    EXPECT_EQ(round.sum(0).payloads, c.used.size());
  }
}

TEST(RoundKeptTest, SaysNormAndMedianOfWhatItLeavesOut) {
  const Round round = Closed(TwoBlocks("max_norm_factor: 4"), {3, 100, 2});
  ASSERT_EQ(round.too_large().size(), 1u);
  EXPECT_EQ(round.too_large()[0].member.id(), "w1");
  EXPECT_DOUBLE_EQ(round.too_large()[0].norm, 100 * std::sqrt(2.0));
  EXPECT_DOUBLE_EQ(round.too_large()[0].median, 3 * std::sqrt(2.0));
}

TEST(RoundKeptTest, TheNextRoundForgetsWhoWasTooLarge) {
  const auto job = TwoBlocks("max_norm_factor: 4");
  Round round = Closed(job, {3, 100, 2});
  round.Open(kRoundStep, RoundMembers(1), kKeep);
  EXPECT_TRUE(round.too_large().empty());
  SendTo(&round, 0, TwoValues(*job, 100));
  round.CloseWithWhole();
  EXPECT_EQ(Ranks(round), Ranked{0});
}

TEST(RoundKeptTest, WhoAbstainsOrIsNotThereDoesNotMoveTheMedian) {
  const auto job = TwoBlocks("max_norm_factor: 4");
  Round round(job);
  round.Open(kRoundStep, RoundMembers(6), kKeep);
  SendTo(&round, 0, TwoValues(*job, 1));
  SendTo(&round, 1, {MakeAbstention(*job, kRoundStep, "base")});
  SendTo(&round, 2, TwoValues(*job, 9));
  SendTo(&round, 3, TwoValues(*job, 1e9f), 0, 1);  // not all of it
  SendTo(&round, 4, TwoValues(*job, 1));
  EXPECT_FALSE(round.complete());
  round.CloseWithWhole();
  EXPECT_EQ(Ranks(round), (Ranked{0, 4}));
  EXPECT_EQ(TooLarge(round), Ranked{2});
}

TEST(RoundKeptTest, AnAggregatorsPayloadsAreNeverAddedAndOverflowNobody) {
  for (const char* codec : {"identity", "random_k:0.5"}) {
    const auto job =
        TwoBlocks(absl::StrCat("aggregator: 'coordinate_median' codec: '", codec, "'"));
    const Round round = Closed(job, {3e38f, 1, 3e38f, 2, 3});
    EXPECT_EQ(round.RefusedMember(), nullptr);
    EXPECT_EQ(Ranks(round), (Ranked{0, 1, 2, 3, 4}));
    EXPECT_EQ(round.sum(0).payloads, 0u);
    EXPECT_EQ(round.payloads(0).size(), 5u);
  }
}

TEST(RoundKeptTest, AMemberThatIsLostIsLeftOutWithoutAskingTheOthersAgain) {
  const auto job = TwoBlocks("aggregator: 'coordinate_median'");
  Round round(job);
  round.Open(kRoundStep, RoundMembers(3), kKeep);
  SendTo(&round, 0, TwoValues(*job, 1), 0, 1);
  SendTo(&round, 1, TwoValues(*job, 2));
  SendTo(&round, 2, TwoValues(*job, 3));
  EXPECT_FALSE(round.Drop(0));
  EXPECT_EQ(round.awaited(), 0u);
  round.CloseWithWhole();
  EXPECT_EQ(Ranks(round), (Ranked{1, 2}));
}

TEST(RoundKeptTest, ANewIncarnationsPayloadIsMeasuredAnew) {
  const auto job = TwoBlocks("max_norm_factor: 4");
  Round round(job);
  round.Open(kRoundStep, RoundMembers(3), kKeep);
  SendTo(&round, 0, TwoValues(*job, 1e9f), 0, 1);
  EXPECT_FALSE(round.Replace(0, 2));
  SendTo(&round, 0, TwoValues(*job, 1), 0, SIZE_MAX, 2);
  SendTo(&round, 1, TwoValues(*job, 1));
  SendTo(&round, 2, TwoValues(*job, 1));
  round.CloseWithWhole();
  EXPECT_EQ(Ranks(round), (Ranked{0, 1, 2}));
}

// One block of ten coordinates, of which each member names its own greatest ones.
TEST(CombineBlockTest, ASparseAggregateHasAllCoordinatesThatAnybodyNames) {
  const auto job = MakeTestJob(
      "model { tensors { tensor { name: 'w' shape: 10 } } } steps: 100 codec: 'top_k:0.2' "
      "aggregator: 'norm_clip' optimizer: 'sgd:lr=1'");
  const std::vector<std::vector<float>> gradients = {
      {3, 0, 0, 4, 0, 0, 0, 0, 0, 0},
      {0, 0, 0, 30, 0, 0, 0, 0, -40, 0},  // ten times as long: scaled down
      {0, 0, 0, 0, 0, 0, 0, 0, 3, 4},
  };
  Round round(job);
  round.Open(kRoundStep, RoundMembers(3), kKeep);
  for (uint32_t m = 0; m < 3; ++m) {
    SendTo(&round, m, MakePayload(*job, kRoundStep, "base", gradients[m]));
  }
  round.CloseWithWhole();
  CombineScratch scratch;
  BlockValues aggregate;
  CombineBlock(*job->aggregator, round, round.norms(), 0, &scratch, &aggregate);
  EXPECT_FALSE(aggregate.dense);
  EXPECT_EQ(aggregate.indices, (std::vector<uint32_t>{0, 3, 8, 9}));
  EXPECT_EQ(aggregate.values, (std::vector<float>{1, 7.0f / 3, -1.0f / 3, 4.0f / 3}));
}

TEST(CombineBlockTest, WhereOneIsDenseAllAre) {
  const auto job = MakeTestJob(
      "model { tensors { tensor { name: 'w' shape: 4 } } } steps: 100 "
      "codec: 'threshold:tau=1' aggregator: 'norm_clip:factor=1000' optimizer: 'sgd:lr=1'");
  Round round(job);
  round.Open(kRoundStep, RoundMembers(2), kKeep);
  SendTo(&round, 0, MakePayload(*job, kRoundStep, "base", {2, 4, 6, 8}));
  SendTo(&round, 1, MakePayload(*job, kRoundStep, "base", {0, 0, 2, 0}));
  round.CloseWithWhole();
  CombineScratch scratch;
  BlockValues aggregate;
  CombineBlock(*job->aggregator, round, round.norms(), 0, &scratch, &aggregate);
  EXPECT_TRUE(aggregate.dense);
  EXPECT_EQ(aggregate.values, (std::vector<float>{1, 2, 4, 4}));
}

}  // namespace
}  // namespace gradwire
