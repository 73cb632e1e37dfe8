// SPDX-License-Identifier: Apache-2.0
// A round that keeps its payloads until a quorum closes it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "server/round.h"
#include "tests/server/fake_cluster.h"
#include "tests/server/round_payloads.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

constexpr RoundOptions kKeep = {.keep_payloads = true};

size_t BytesOf(const Payload& payload) {
  size_t bytes = 0;
  for (const v1::Gradient& message : payload) bytes += message.blocks(0).payload().size();
  return bytes;
}

TEST(RoundQuorumTest, OverAllMembersItGivesTheBitsOfSyncWhateverTheOrderOfArrival) {
  for (const char* codec : {"random_k:0.0001", "top_k:0.0001", "sign_majority", "int8"}) {
    SCOPED_TRACE(codec);
    const auto job = ThreeBlocks(codec);
    std::vector<Payload> payloads;
    for (size_t rank = 0; rank < 4; ++rank) payloads.push_back(PayloadOf(*job, rank));
    Round sync(job);
    sync.Open(kRoundStep, RoundMembers(4));
    for (uint32_t rank = 0; rank < 4; ++rank) SendTo(&sync, rank, payloads[rank]);
    ASSERT_TRUE(sync.complete());
    std::vector<std::pair<uint32_t, size_t>> arrivals;
    for (uint32_t rank = 0; rank < 4; ++rank) {
      for (size_t block = 0; block < 3; ++block) arrivals.emplace_back(rank, block);
    }
    std::mt19937 random(3);
    for (int trial = 0; trial < 5; ++trial) {
      std::shuffle(arrivals.begin(), arrivals.end(), random);
      Round round(job);
      round.Open(kRoundStep, RoundMembers(4), kKeep);
      for (const auto& [rank, block] : arrivals) SendTo(&round, rank, payloads[rank], block, 1);
      EXPECT_EQ(round.arrived(), 4u);
      round.CloseWithWhole();
      ASSERT_TRUE(round.complete());
      EXPECT_EQ(round.used().size(), 4u);
      for (size_t block = 0; block < 3; ++block) {
        EXPECT_EQ(round.sum(block).payloads, 4u);
        EXPECT_EQ(round.sum(block).sums, sync.sum(block).sums);
        EXPECT_EQ(round.sum(block).bits, sync.sum(block).bits);
      }
    }
  }
}

TEST(RoundQuorumTest, NothingIsSummedBeforeTheCloseAndKeptBytesAreCountedUntilTheNextOpen) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(2), kKeep);
  size_t bytes = 0;
  for (uint32_t rank = 0; rank < 2; ++rank) {
    SendTo(&round, rank, PayloadOf(*job, rank));
    bytes += BytesOf(PayloadOf(*job, rank));
    EXPECT_EQ(round.waiting_bytes(), bytes);
    EXPECT_EQ(round.sum(0).payloads, 0u);
    EXPECT_FALSE(round.complete());
  }
  round.CloseWithWhole();
  EXPECT_TRUE(round.complete());
  EXPECT_EQ(SumsOf(round), SumInOrder(*job, {0, 1}));
  EXPECT_EQ(round.waiting_bytes(), bytes);
  round.CloseWithWhole();  // once
  EXPECT_EQ(round.sum(0).payloads, 2u);
  round.Open(kRoundStep, RoundMembers(2), kKeep);
  EXPECT_EQ(round.waiting_bytes(), 0u);
  EXPECT_EQ(round.awaited(), 2u);
  SendTo(&round, 0, PayloadOf(*job, 0));
  EXPECT_EQ(round.sum(0).payloads, 0u);
}

TEST(RoundQuorumTest, LeavesOutWhoeverIsNotWholeAtTheClose) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(5), kKeep);
  EXPECT_EQ(round.arrived(), 0u);
  EXPECT_EQ(round.awaited(), 5u);
  SendTo(&round, 3, PayloadOf(*job, 3));
  SendTo(&round, 1, PayloadOf(*job, 1), 0, 2);
  ASSERT_TRUE(round.Add(2, 1, MakeAbstention(*job, kRoundStep, "base")).ok());
  SendTo(&round, 0, PayloadOf(*job, 0));
  EXPECT_FALSE(round.Drop(4));  // gone before it sent anything
  EXPECT_EQ(round.arrived(), 3u);
  EXPECT_EQ(round.awaited(), 1u);
  EXPECT_EQ(round.Missing(), "w1");
  round.CloseWithWhole();
  EXPECT_TRUE(round.complete());
  EXPECT_EQ(round.arrived(), 3u);
  EXPECT_EQ(round.awaited(), 0u);
  EXPECT_EQ(SumsOf(round), SumInOrder(*job, {0, 3}));
  ASSERT_EQ(round.used().size(), 2u);
  EXPECT_EQ(round.used()[1].rank(), 3u);
  ASSERT_EQ(round.abstained().size(), 1u);
  EXPECT_EQ(round.abstained()[0].id(), "w2");
  EXPECT_DOUBLE_EQ(round.loss(), (0.0 * 1 + 3.0 * 4) / 5);
  // What comes too late changes nothing.
  EXPECT_EQ(round.Add(1, 1, PayloadOf(*job, 1)[2])->duplicates, 1u);
  EXPECT_EQ(round.used().size(), 2u);
  EXPECT_EQ(SumsOf(round), SumInOrder(*job, {0, 3}));
}

TEST(RoundQuorumTest, NobodyWholeIsARoundWithoutPayloads) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(2), kKeep);
  SendTo(&round, 0, PayloadOf(*job, 0), 0, 2);
  round.CloseWithWhole();
  EXPECT_TRUE(round.complete());
  EXPECT_TRUE(round.used().empty());
  EXPECT_EQ(round.sum(0).payloads, 0u);
  EXPECT_EQ(round.waiting_bytes(), 0u);
}

TEST(RoundQuorumTest, BadBytesAreRefusedWhenTheyCome) {
  const auto job = ThreeBlocks();
  const float nan = std::nanf("");
  for (const uint32_t rank : {0u, 1u}) {
    SCOPED_TRACE(rank);
    Round round(job);
    round.Open(kRoundStep, RoundMembers(2), kKeep);
    v1::Gradient bad = PayloadOf(*job, rank)[0];
    std::memcpy(bad.mutable_blocks(0)->mutable_payload()->data() + 8, &nan, sizeof(nan));
    const absl::Status status = round.Add(rank, 1, bad).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("step 12: block 0"));
    EXPECT_EQ(round.waiting_bytes(), 0u);
    EXPECT_EQ(round.awaited(), 2u);
  }
}

TEST(RoundQuorumTest, ADropNeverMakesTheOthersSendAgain) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(4), kKeep);
  SendTo(&round, 0, PayloadOf(*job, 0));
  SendTo(&round, 1, PayloadOf(*job, 1), 0, 2);
  SendTo(&round, 2, PayloadOf(*job, 2));
  SendTo(&round, 3, PayloadOf(*job, 3), 0, 1);
  EXPECT_FALSE(round.Drop(0));  // complete: it stays
  EXPECT_FALSE(round.Drop(1));
  EXPECT_EQ(round.arrived(), 2u);
  EXPECT_EQ(round.Missing(), "w3");
  SendTo(&round, 3, PayloadOf(*job, 3), 1);
  round.CloseWithWhole();
  EXPECT_TRUE(round.complete());
  EXPECT_EQ(SumsOf(round), SumInOrder(*job, {0, 2, 3}));
}

TEST(RoundQuorumTest, ANewIncarnationSendsAnUnfinishedPayloadAgainAndNobodyElseDoes) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(3), kKeep);
  SendTo(&round, 0, PayloadOf(*job, 0), 0, 2);
  SendTo(&round, 1, PayloadOf(*job, 1));
  SendTo(&round, 2, PayloadOf(*job, 2));
  EXPECT_FALSE(round.Replace(0, 2));
  EXPECT_FALSE(round.Replace(1, 2));
  EXPECT_EQ(round.waiting_bytes(), BytesOf(PayloadOf(*job, 1)) + BytesOf(PayloadOf(*job, 2)));
  EXPECT_EQ(round.Missing(), "w0");
  SendTo(&round, 0, PayloadOf(*job, 4), 0, 3, 2);
  round.CloseWithWhole();
  EXPECT_EQ(SumsOf(round), SumInOrder(*job, {4, 1, 2}));
  EXPECT_EQ(round.used()[0].incarnation(), 2u);
  EXPECT_EQ(round.used()[1].incarnation(), 1u);
}

// Every coordinate of a block has the block's value.
Payload Constant(const Job& job, const std::vector<float>& by_block) {
  std::vector<float> values;
  for (size_t block = 0; block < job.layout.blocks(); ++block) {
    values.insert(values.end(), job.layout.block_size(block), by_block[block]);
  }
  return MakePayload(job, kRoundStep, "base", values);
}

TEST(RoundQuorumTest, APayloadThatOverflowsIsNamedAndWithoutItTheOthersAreAddedAgain) {
  const auto job = ThreeBlocks();
  const Payload huge = Constant(*job, {1, 2, 3e38f});
  Round round(job);
  round.Open(kRoundStep, RoundMembers(4), kKeep);
  SendTo(&round, 3, PayloadOf(*job, 3));
  for (const uint32_t rank : {2u, 1u, 0u}) SendTo(&round, rank, huge);
  EXPECT_FALSE(round.Drop(0));  // gone; its payload stays
  EXPECT_EQ(round.RefusedMember(), nullptr);
  round.CloseWithWhole();
  for (const char* id : {"w1", "w2"}) {
    EXPECT_FALSE(round.complete());
    ASSERT_NE(round.RefusedMember(), nullptr);
    EXPECT_EQ(round.RefusedMember()->id(), id);
    EXPECT_FALSE(round.Drop(round.RefusedMember()->rank()));
  }
  EXPECT_EQ(round.RefusedMember(), nullptr);
  EXPECT_TRUE(round.complete());
  EXPECT_EQ(round.arrived(), 2u);
  EXPECT_EQ(SumsOf(round), SumInOrder({huge, PayloadOf(*job, 3)}));
  ASSERT_EQ(round.used().size(), 2u);
  EXPECT_EQ(round.used()[1].rank(), 3u);
}

TEST(RoundQuorumTest, WhoOverflowsOnlyTogetherWithOneThatIsDroppedStays) {
  const auto job = ThreeBlocks();
  const Payload payloads[] = {Constant(*job, {1, 1, 3e38f}), Constant(*job, {1, 3e38f, 3e38f}),
                              Constant(*job, {1, 3e38f, 1})};
  Round round(job);
  round.Open(kRoundStep, RoundMembers(3), kKeep);
  for (uint32_t rank = 0; rank < 3; ++rank) SendTo(&round, rank, payloads[rank]);
  round.CloseWithWhole();
  ASSERT_NE(round.RefusedMember(), nullptr);
  EXPECT_EQ(round.RefusedMember()->id(), "w1");
  EXPECT_FALSE(round.Drop(1));
  EXPECT_TRUE(round.complete());
  ASSERT_EQ(round.used().size(), 2u);
  EXPECT_EQ(SumsOf(round), SumInOrder({payloads[0], payloads[2]}));
}

TEST(RoundQuorumTest, InSyncNothingIsClosedFromOutside) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(2));
  SendTo(&round, 0, PayloadOf(*job, 0));
  round.CloseWithWhole();
  EXPECT_FALSE(round.complete());
  EXPECT_EQ(round.arrived(), 1u);
  EXPECT_EQ(round.awaited(), 1u);
  SendTo(&round, 1, PayloadOf(*job, 1));
  EXPECT_TRUE(round.complete());
  EXPECT_EQ(SumsOf(round), SumInOrder(*job, {0, 1}));
}

}  // namespace
}  // namespace gradwire
