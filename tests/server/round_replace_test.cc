// SPDX-License-Identifier: Apache-2.0
// A member that comes back in the middle of a step: what its older incarnation had sent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "server/round.h"
#include "tests/server/fake_cluster.h"
#include "tests/server/round_payloads.h"

namespace gradwire {
namespace {

// Of a rank's incarnation: another payload for each, so that the sums tell whose was added.
size_t NumberOf(size_t rank, uint64_t incarnation) { return rank + 4 * (incarnation - 1); }

TEST(RoundReplaceTest, WhatWasUnfinishedIsSentByTheNewIncarnationAndWhatWasCompleteStays) {
  struct Case {
    const char* name;
    uint32_t rank;
    std::vector<std::pair<uint32_t, size_t>> before;  // (rank, blocks of it) that came
    bool thrown_away;
    bool stays;
  };
  const Case cases[] = {
      {"nothing came", 1, {}, false, false},
      {"only others came", 1, {{0, 2}, {2, 1}}, false, false},
      {"its blocks wait", 1, {{1, 2}}, false, false},
      {"its block is summed", 1, {{0, 1}, {1, 1}}, true, false},
      {"lowest, summed, others behind it", 0, {{0, 1}, {1, 2}, {2, 3}}, true, false},
      {"its payload is complete and waits", 1, {{1, 3}}, false, true},
      {"its payload is complete and summed", 1, {{0, 1}, {1, 3}}, false, true},
  };
  const auto job = ThreeBlocks();
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Round round(job);
    round.Open(kRoundStep, RoundMembers(3));
    std::vector<size_t> sent(3, 0);
    for (const auto& [rank, blocks] : c.before) {
      SendTo(&round, rank, PayloadOf(*job, rank), 0, blocks);
      sent[rank] = blocks;
    }
    EXPECT_EQ(round.Replace(c.rank, 2), c.thrown_away);
    EXPECT_FALSE(round.Replace(c.rank, 2));  // once
    EXPECT_EQ(round.Add(c.rank, 1, PayloadOf(*job, c.rank)[0]).status().code(),
              absl::StatusCode::kAborted);
    if (c.thrown_away) sent.assign(3, 0);
    for (uint32_t rank = 0; rank < 3; ++rank) {
      if (rank == c.rank) {
        SendTo(&round, rank, PayloadOf(*job, NumberOf(rank, 2)), 0, 3, 2);
      } else {
        SendTo(&round, rank, PayloadOf(*job, rank), sent[rank]);  // the rest is enough
      }
    }
    EXPECT_TRUE(round.complete());
    EXPECT_EQ(round.waiting_bytes(), 0u);
    std::vector<size_t> numbers = {0, 1, 2};
    if (!c.stays) numbers[c.rank] = NumberOf(c.rank, 2);
    EXPECT_EQ(SumsOf(round), SumInOrder(*job, numbers));
    double loss = 0;
    double samples = 0;
    for (const size_t n : numbers) {
      loss += static_cast<double>(n * (n + 1));
      samples += static_cast<double>(n + 1);
    }
    EXPECT_DOUBLE_EQ(round.loss(), loss / samples);
    ASSERT_EQ(round.used().size(), 3u);
    EXPECT_EQ(round.used()[c.rank].incarnation(), c.stays ? 1u : 2u);
  }
}

TEST(RoundReplaceTest, WhatTheNewIncarnationSendsForACompletePayloadAreDuplicates) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(2));
  SendTo(&round, 1, PayloadOf(*job, 1));
  EXPECT_EQ(round.arrived(), 1u);
  ASSERT_FALSE(round.Replace(1, 2));
  EXPECT_EQ(round.arrived(), 1u);
  for (const v1::Gradient& message : PayloadOf(*job, 5)) {
    const auto added = round.Add(1, 2, message);
    ASSERT_TRUE(added.ok()) << added.status();
    EXPECT_EQ(added->blocks, 0u);
    EXPECT_EQ(added->duplicates, 1u);
  }
  EXPECT_TRUE(round.Add(1, 2, MakeAbstention(*job, kRoundStep, "base")).ok());
  EXPECT_TRUE(round.abstained().empty());
  SendTo(&round, 0, PayloadOf(*job, 0));
  EXPECT_TRUE(round.complete());
  EXPECT_EQ(SumsOf(round), SumInOrder(*job, {0, 1}));
  EXPECT_EQ(round.used()[1].incarnation(), 1u);
  EXPECT_DOUBLE_EQ(round.loss(), (0.0 * 1 + 1.0 * 2) / 3);  // of the older one's end
}

TEST(RoundReplaceTest, AnAbstentionStays) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(2));
  ASSERT_TRUE(round.Add(0, 1, MakeAbstention(*job, kRoundStep, "base")).ok());
  EXPECT_FALSE(round.Replace(0, 2));
  EXPECT_EQ(round.Add(0, 2, PayloadOf(*job, 4)[0])->duplicates, 1u);
  EXPECT_EQ(round.Add(0, 1, PayloadOf(*job, 4)[0]).status().code(), absl::StatusCode::kAborted);
  SendTo(&round, 1, PayloadOf(*job, 1));
  EXPECT_TRUE(round.complete());
  EXPECT_EQ(SumsOf(round), SumInOrder(*job, {1}));
  ASSERT_EQ(round.abstained().size(), 1u);
  EXPECT_EQ(round.abstained()[0].incarnation(), 1u);
}

TEST(RoundReplaceTest, ACompletePayloadIsSentAgainByTheNewIncarnationOnceSumsAreThrownAway) {
  const auto job = ThreeBlocks();
  for (const bool departed : {false, true}) {
    SCOPED_TRACE(departed);
    Round round(job);
    round.Open(kRoundStep, RoundMembers(3));
    SendTo(&round, 0, PayloadOf(*job, 0));
    if (departed) {
      EXPECT_FALSE(round.Drop(0));
    }
    EXPECT_FALSE(round.Replace(0, 2));
    SendTo(&round, 1, PayloadOf(*job, 1), 0, 1);
    ASSERT_TRUE(round.Add(2, 1, MakeAbstention(*job, kRoundStep, "base")).ok());
    EXPECT_TRUE(round.Replace(1, 2));
    EXPECT_EQ(round.Missing(), "w0, w1");  // the abstention stays
    EXPECT_EQ(round.Add(0, 1, PayloadOf(*job, 0)[0]).status().code(), absl::StatusCode::kAborted);
    SendTo(&round, 0, PayloadOf(*job, 4), 0, 3, 2);
    SendTo(&round, 1, PayloadOf(*job, 5), 0, 3, 2);
    EXPECT_TRUE(round.complete());
    EXPECT_EQ(SumsOf(round), SumInOrder(*job, {4, 5}));
    EXPECT_EQ(round.used()[0].incarnation(), 2u);
  }
}

TEST(RoundReplaceTest, NothingHappensForAStrangerOrForAnIncarnationThatIsNotNewer) {
  const auto job = ThreeBlocks();
  Round round(job);
  round.Open(kRoundStep, RoundMembers(2));
  SendTo(&round, 0, PayloadOf(*job, 0), 0, 2);
  for (const auto& [rank, incarnation] :
       std::vector<std::pair<uint32_t, uint64_t>>{{7, 2}, {0, 1}, {0, 0}}) {
    EXPECT_FALSE(round.Replace(rank, incarnation));
  }
  SendTo(&round, 0, PayloadOf(*job, 0), 2);
  EXPECT_EQ(round.Missing(), "w1");
}

// The oracle knows only what the contract says: who has sent all, and that Replace's answer makes
// everybody send again.
TEST(RoundReplaceTest, TheSumsAreThoseOfWhoeverSentAllWhateverComesInBetween) {
  constexpr uint64_t kIncarnations = 4;
  const auto job = ThreeBlocks();
  std::vector<Payload> payloads;  // by NumberOf
  for (size_t i = 0; i < 4 * kIncarnations; ++i) payloads.push_back(PayloadOf(*job, i));
  std::mt19937 random(11);
  size_t thrown_away = 0;
  Round round(job);
  for (int trial = 0; trial < 1000; ++trial) {
    round.Open(kRoundStep, RoundMembers(4));
    std::vector<uint64_t> now(4, 1);    // the incarnation that may speak
    std::vector<uint64_t> owner(4, 1);  // whose blocks are there
    std::vector<size_t> sent(4, 0);
    while (!round.complete()) {
      const uint32_t rank = static_cast<uint32_t>(random() % 4);
      if (random() % 8 == 0 && now[rank] < kIncarnations) {
        const bool thrown = round.Replace(rank, ++now[rank]);
        ASSERT_TRUE(!thrown || (sent[rank] > 0 && sent[rank] < 3)) << "trial " << trial;
        thrown_away += thrown ? 1 : 0;
        for (uint32_t r = 0; r < 4; ++r) {
          if (!thrown && (r != rank || sent[r] == 3)) continue;
          sent[r] = 0;
          owner[r] = now[r];
        }
      } else if (sent[rank] < 3) {
        SendTo(&round, rank, payloads[NumberOf(rank, now[rank])], sent[rank]++, 1, now[rank]);
      }
    }
    std::vector<Payload> expected;
    for (size_t rank = 0; rank < 4; ++rank) {
      expected.push_back(payloads[NumberOf(rank, owner[rank])]);
      ASSERT_EQ(round.used()[rank].incarnation(), owner[rank]) << "trial " << trial;
    }
    ASSERT_EQ(SumsOf(round), SumInOrder(expected)) << "trial " << trial;
    ASSERT_EQ(round.waiting_bytes(), 0u);
  }
  EXPECT_GT(thrown_away, 100u);
}

}  // namespace
}  // namespace gradwire
