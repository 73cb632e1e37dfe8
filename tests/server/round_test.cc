// SPDX-License-Identifier: Apache-2.0
// One round: sums in rank order whatever the order of arrival, drops, duplicates, refusals.
#include "server/round.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "tests/server/fake_cluster.h"
#include "tests/server/round_payloads.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

TEST(RoundTest, SumsAreInRankOrderWhateverTheOrderOfArrival) {
  const auto job = ThreeBlocks();
  const std::vector<float> expected = SumInOrder(*job, {0, 1, 2, 3});
  ASSERT_NE(expected, SumInOrder(*job, {3, 2, 1, 0})) << "the order cannot be seen";
  std::vector<std::vector<v1::Gradient>> payloads;
  for (size_t rank = 0; rank < 4; ++rank) payloads.push_back(PayloadOf(*job, rank));
  std::mt19937 random(3);
  Round round(job);
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<std::pair<uint32_t, size_t>> arrivals;
    for (uint32_t rank = 0; rank < 4; ++rank) {
      for (size_t block = 0; block < 3; ++block) arrivals.emplace_back(rank, block);
    }
    std::shuffle(arrivals.begin(), arrivals.end(), random);
    round.Open(kRoundStep, RoundMembers(4));
    for (const auto& [rank, block] : arrivals) {
      ASSERT_FALSE(round.complete());
      const auto added = round.Add(rank, 1, payloads[rank][block]);
      ASSERT_TRUE(added.ok()) << added.status();
      ASSERT_EQ(added->blocks, 1u);
    }
    ASSERT_TRUE(round.complete());
    ASSERT_EQ(round.waiting_bytes(), 0u);
    ASSERT_EQ(SumsOf(round), expected) << "trial " << trial;
    ASSERT_EQ(round.sum(0).payloads, 4u);
  }
}

TEST(RoundTest, EarlyBlocksWaitAndAreCounted) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(3));
  const auto payload = PayloadOf(*job, 2);
  const size_t bytes = payload[0].blocks(0).payload().size();
  ASSERT_TRUE(round.Add(2, 1, payload[0]).ok());
  EXPECT_EQ(round.waiting_bytes(), bytes);
  EXPECT_TRUE(round.HasWaiting(2));
  ASSERT_TRUE(round.Add(1, 1, PayloadOf(*job, 1)[0]).ok());
  EXPECT_EQ(round.waiting_bytes(), 2 * bytes);
  ASSERT_TRUE(round.Add(0, 1, PayloadOf(*job, 0)[0]).ok());
  EXPECT_EQ(round.waiting_bytes(), 0u);
  EXPECT_FALSE(round.HasWaiting(2));
  EXPECT_EQ(round.sum(0).payloads, 3u);
}

TEST(RoundTest, ABlockThatIsThereAlreadyIsADuplicate) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(2));
  const auto all = PayloadOf(*job, 1, 3);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(round.Add(1, 1, all[0])->blocks, 3u);
  const auto again = round.Add(1, 1, all[0]);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->blocks, 0u);
  EXPECT_EQ(again->duplicates, 3u);
  // Another value in the same place changes nothing: the first counts.
  EXPECT_EQ(round.Add(1, 1, PayloadOf(*job, 3)[1])->duplicates, 1u);
  ASSERT_TRUE(round.Add(0, 1, PayloadOf(*job, 0, 3)[0]).ok());
  EXPECT_EQ(SumsOf(round), SumInOrder(*job, {0, 1}));
}

TEST(RoundTest, DroppingAMemberThrowsTheSumsAwayOnlyIfItIsInThem) {
  struct Case {
    const char* name;
    uint32_t leaver;
    std::vector<std::pair<uint32_t, size_t>> before;  // (rank, blocks of it) that came
    bool thrown_away;
  };
  const Case cases[] = {
      {"nothing came", 1, {}, false},
      {"only others came", 1, {{0, 2}, {2, 1}}, false},
      {"its blocks wait", 1, {{1, 2}}, false},
      {"its block is summed", 1, {{0, 1}, {1, 1}}, true},
      {"lowest, summed, others behind it", 0, {{0, 1}, {1, 2}, {2, 3}}, true},
      {"its payload is complete", 1, {{0, 1}, {1, 3}}, false},
  };
  const auto job = ThreeBlocks();
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Round round(job);
    round.Open(kRoundStep, RoundMembers(3));
    bool whole = false;
    for (const auto& [rank, blocks] : c.before) {
      const auto payload = PayloadOf(*job, rank);
      for (size_t i = 0; i < blocks; ++i) ASSERT_TRUE(round.Add(rank, 1, payload[i]).ok());
      whole = whole || (rank == c.leaver && blocks == 3);
    }
    EXPECT_EQ(round.Drop(c.leaver), c.thrown_away);
    EXPECT_FALSE(round.Drop(c.leaver));  // once
    std::vector<size_t> ranks;
    for (size_t rank = 0; rank < 3; ++rank) {
      if (rank == c.leaver && !whole) continue;
      ranks.push_back(rank);
      if (rank == c.leaver) continue;
      for (const v1::Gradient& message : PayloadOf(*job, rank)) {  // the whole step again
        ASSERT_TRUE(round.Add(static_cast<uint32_t>(rank), 1, message).ok());
      }
    }
    EXPECT_TRUE(round.complete());
    EXPECT_EQ(round.waiting_bytes(), 0u);
    EXPECT_EQ(SumsOf(round), SumInOrder(*job, ranks));
    ASSERT_EQ(round.used().size(), ranks.size());
    for (size_t i = 0; i < ranks.size(); ++i) EXPECT_EQ(round.used()[i].rank(), ranks[i]);
  }
}

TEST(RoundTest, ACompletePayloadOfOneThatIsGoneCannotSurviveSumsThrownAway) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(3));
  for (const v1::Gradient& message : PayloadOf(*job, 0)) ASSERT_TRUE(round.Add(0, 1, message).ok());
  ASSERT_TRUE(round.Add(1, 1, PayloadOf(*job, 1)[0]).ok());
  EXPECT_FALSE(round.Drop(0));
  EXPECT_TRUE(round.Drop(1));
  for (const v1::Gradient& message : PayloadOf(*job, 2)) ASSERT_TRUE(round.Add(2, 1, message).ok());
  EXPECT_TRUE(round.complete());
  ASSERT_EQ(round.used().size(), 1u);
  EXPECT_EQ(round.used()[0].rank(), 2u);
  EXPECT_EQ(SumsOf(round), SumInOrder(*job, {2}));
}

TEST(RoundTest, OnlyMembersOfTheHeadersIncarnationMaySend) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(2));
  EXPECT_EQ(round.Add(2, 1, PayloadOf(*job, 0)[0]).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(round.Add(1, 2, PayloadOf(*job, 0)[0]).status().code(), absl::StatusCode::kAborted);
}

TEST(RoundTest, AbstainingLeavesAMemberOutAndIsRemembered) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(2));
  for (const v1::Gradient& message : PayloadOf(*job, 1)) ASSERT_TRUE(round.Add(1, 1, message).ok());
  EXPECT_GT(round.waiting_bytes(), 0u);
  ASSERT_TRUE(round.Add(0, 1, MakeAbstention(*job, kRoundStep, "base")).ok());
  EXPECT_TRUE(round.complete());
  EXPECT_EQ(round.waiting_bytes(), 0u);
  ASSERT_EQ(round.abstained().size(), 1u);
  EXPECT_EQ(round.abstained()[0].id(), "w0");
  EXPECT_EQ(round.end_of(0)->abstain_reason(), "w[3] is nan");
  EXPECT_EQ(SumsOf(round), SumInOrder(*job, {1}));
  EXPECT_DOUBLE_EQ(round.loss(), 1.0);  // rank 1's alone
}

TEST(RoundTest, TheLossIsTheMeanOverTheSamplesThatWereUsed) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(3));
  for (uint32_t rank = 0; rank < 3; ++rank) {
    ASSERT_TRUE(round.Add(rank, 1, PayloadOf(*job, rank, 3)[0]).ok());
  }
  EXPECT_DOUBLE_EQ(round.loss(), (0.0 * 1 + 1.0 * 2 + 2.0 * 3) / 6);  // loss = rank, rank+1 samples
}

TEST(RoundTest, RefusesBadMessagesNamingWorkerStepBlockValueAndLimit) {
  const auto job = ThreeBlocks();
  const auto good = PayloadOf(*job, 1)[0];
  struct Case {
    const char* name;
    std::function<void(v1::Gradient*)> spoil;
    std::vector<const char*> says;
  };
  const auto put = [](v1::Gradient* m, float value) {
    std::memcpy(m->mutable_blocks(0)->mutable_payload()->data() + 8, &value, sizeof(value));
  };
  const Case cases[] = {
      {"short",
       [](v1::Gradient* m) { m->mutable_blocks(0)->mutable_payload()->pop_back(); },
       {"block 0", "103 bytes", "104"}},
      {"long",
       [](v1::Gradient* m) { m->mutable_blocks(0)->mutable_payload()->push_back('x'); },
       {"block 0", "105 bytes", "104"}},
      {"huge",
       [](v1::Gradient* m) { m->mutable_blocks(0)->mutable_payload()->resize((4 << 18) + 65); },
       {"block 0", "1048641 bytes", "at most 1048640"}},
      {"nan", [&](v1::Gradient* m) { put(m, std::nanf("")); }, {"block 0", "nan", "finite"}},
      {"inf",
       [&](v1::Gradient* m) { put(m, -std::numeric_limits<float>::infinity()); },
       {"block 0", "-inf", "finite"}},
      {"codec", [](v1::Gradient* m) { m->set_codec(v1::CODEC_TOP_K); }, {"codec 3", "2"}},
      {"block", [](v1::Gradient* m) { m->mutable_blocks(0)->set_block(3); }, {"block 3", "[0, 3)"}},
      {"abstains with blocks",
       [](v1::Gradient* m) { m->mutable_end()->set_abstained(true); },
       {"abstains", "blocks"}},
      {"evaluation",
       [](v1::Gradient* m) {
         m->mutable_end()->mutable_evaluation()->add_metrics()->set_name(std::string(20000, 'x'));
       },
       {"evaluation", "at most 16384"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    for (const bool waits : {true, false}) {
      Round round(job);
      round.Open(kRoundStep, RoundMembers(2));
      if (!waits) {
        ASSERT_TRUE(round.Add(0, 1, PayloadOf(*job, 0, 3)[0]).ok());
      }
      v1::Gradient bad = good;
      c.spoil(&bad);
      const absl::Status status = round.Add(1, 1, bad).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(status.message()), HasSubstr("worker \"w1\" (rank 1), step 12"));
      for (const char* part : c.says) {
        EXPECT_THAT(std::string(status.message()), HasSubstr(part));
      }
      if (!waits) {
        EXPECT_EQ(SumsOf(round), SumInOrder(*job, {0}));  // untouched
      }
    }
  }
}

TEST(RoundTest, AMemberWhosePayloadOverflowsTheSumIsNamedWhateverTheOrder) {
  const auto job = ThreeBlocks();
  const std::vector<float> huge(600000, 3e38f);
  for (const bool in_order : {true, false}) {
    SCOPED_TRACE(in_order);
    Round round(job);
    round.Open(kRoundStep, RoundMembers(2));
    absl::Status last;
    for (const uint32_t rank :
         in_order ? std::vector<uint32_t>{0, 1} : std::vector<uint32_t>{1, 0}) {
      for (const v1::Gradient& message : MakePayload(*job, kRoundStep, "base", huge)) {
        last.Update(round.Add(rank, 1, message).status());
      }
    }
    if (in_order) {
      EXPECT_EQ(last.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(last.message()), HasSubstr("\"w1\""));
    } else {
      EXPECT_TRUE(last.ok()) << last;
      ASSERT_NE(round.RefusedMember(), nullptr);
      EXPECT_EQ(round.RefusedMember()->id(), "w1");
    }
    EXPECT_FALSE(round.complete());
  }
}

TEST(RoundTest, OpenForgetsEverything) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(3));
  ASSERT_TRUE(round.Add(0, 1, PayloadOf(*job, 0)[0]).ok());
  ASSERT_TRUE(round.Add(2, 1, PayloadOf(*job, 2)[1]).ok());
  EXPECT_EQ(round.Missing(), "w0, w1, w2");
  round.Open(kRoundStep, RoundMembers(1));
  EXPECT_EQ(round.waiting_bytes(), 0u);
  EXPECT_EQ(round.Missing(), "w0");
  for (const v1::Gradient& message : PayloadOf(*job, 0)) ASSERT_TRUE(round.Add(0, 1, message).ok());
  EXPECT_TRUE(round.complete());
  EXPECT_EQ(SumsOf(round), SumInOrder(*job, {0}));
}

}  // namespace
}  // namespace gradwire
