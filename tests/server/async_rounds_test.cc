// SPDX-License-Identifier: Apache-2.0
// Payloads of an ASYNC job: one a member, answered in the order in which they were complete.
#include "server/async_rounds.h"

#include <gtest/gtest.h>

#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

std::shared_ptr<const Job> TwoBlockJob() {
  return MakeTestJob(
      "model { tensors { tensor { name: 'w' shape: 300000 } } } steps: 10 consistency: ASYNC "
      "membership { workers: 3 }");
}

v1::Header Members(uint32_t count) {
  v1::Header header;
  for (uint32_t rank = 0; rank < count; ++rank) {
    v1::Member* member = header.add_members();
    member->set_id(std::string(1, static_cast<char>('a' + rank)));
    member->set_rank(rank);
    member->set_incarnation(1);
  }
  return header;
}

class AsyncRoundsTest : public testing::Test {
 protected:
  AsyncRoundsTest() { rounds_.Open(Members(3)); }

  std::vector<v1::Gradient> Payload(uint64_t step, float value) const {
    return MakePayload(*job_, step, "", std::vector<float>(job_->layout.dimension(), value));
  }
  void Send(uint32_t rank, const v1::Gradient& message, uint64_t incarnation = 1) {
    const auto added = rounds_.Add(rank, incarnation, message);
    ASSERT_TRUE(added.ok()) << added.status();
    duplicates_ += added->duplicates;
  }

  const std::shared_ptr<const Job> job_ = TwoBlockJob();
  AsyncRounds rounds_{job_};
  size_t duplicates_ = 0;
};

TEST_F(AsyncRoundsTest, WhoIsCompleteFirstIsAnsweredFirst) {
  ASSERT_EQ(job_->layout.blocks(), 2u);
  const auto early = Payload(1, 1);
  const auto late = Payload(4, 2);
  Send(0, early[0]);
  EXPECT_EQ(rounds_.Complete(), nullptr);
  Send(2, late[0]);
  Send(2, late[1]);
  Send(0, early[1]);
  ASSERT_NE(rounds_.Complete(), nullptr);
  EXPECT_EQ(rounds_.Complete()->used()[0].rank(), 2u);
  EXPECT_EQ(rounds_.Complete()->step(), 4u);
  EXPECT_EQ(rounds_.Missing(), "b");
  v1::Header next = Members(3);
  next.mutable_members(2)->set_answered_step(4);
  rounds_.Open(next);
  EXPECT_EQ(rounds_.Complete()->used()[0].rank(), 0u);
  EXPECT_EQ(rounds_.Complete()->sum(0).sums[0], 1.0f);
}

TEST_F(AsyncRoundsTest, WhatWasAnsweredOrIsOlderIsADuplicate) {
  v1::Header next = Members(3);
  next.mutable_members(1)->set_answered_step(5);
  rounds_.Open(next);
  for (const v1::Gradient& message : Payload(5, 1)) Send(1, message);
  EXPECT_EQ(duplicates_, 2u);
  EXPECT_EQ(rounds_.Complete(), nullptr);
  Send(1, Payload(9, 1)[0]);
  Send(1, Payload(7, 1)[0]);
  EXPECT_EQ(duplicates_, 3u);
  // A newer one takes the place of what is not complete, and a complete one stays.
  for (const v1::Gradient& message : Payload(10, 3)) Send(1, message);
  for (const v1::Gradient& message : Payload(11, 4)) Send(1, message);
  EXPECT_EQ(duplicates_, 5u);
  ASSERT_NE(rounds_.Complete(), nullptr);
  EXPECT_EQ(rounds_.Complete()->step(), 10u);
  EXPECT_EQ(rounds_.Complete()->sum(1).sums[0], 3.0f);
}

TEST_F(AsyncRoundsTest, WhatAnotherIncarnationSentIsForgotten) {
  for (const v1::Gradient& message : Payload(1, 1)) Send(1, message);
  for (const v1::Gradient& message : Payload(1, 1)) Send(2, message);
  v1::Header next = Members(3);
  next.mutable_members(1)->set_incarnation(2);
  rounds_.Open(next);
  EXPECT_EQ(rounds_.Complete()->used()[0].rank(), 2u);
  rounds_.Drop(2);
  EXPECT_EQ(rounds_.Complete(), nullptr);
  EXPECT_TRUE(absl::IsAborted(rounds_.Add(1, 1, Payload(2, 1)[0]).status()));
  EXPECT_TRUE(absl::IsNotFound(rounds_.Add(3, 1, Payload(2, 1)[0]).status()));
}

TEST_F(AsyncRoundsTest, AnAbstentionIsAnsweredLikeAPayload) {
  Send(1, MakeAbstention(*job_, 3, ""));
  ASSERT_NE(rounds_.Complete(), nullptr);
  EXPECT_TRUE(rounds_.Complete()->used().empty());
  EXPECT_EQ(rounds_.Complete()->abstained()[0].id(), "b");
}

TEST_F(AsyncRoundsTest, KnowsTheSlowestAndTheOldestVersionThatIsNeeded) {
  v1::Header header = Members(3);
  const uint64_t clocks[] = {7, 4, 9};
  const uint64_t answered[] = {30, 21, 33};
  for (int i = 0; i < 3; ++i) {
    header.mutable_members(i)->set_clock(clocks[i]);
    header.mutable_members(i)->set_answered_step(answered[i]);
  }
  rounds_.Open(header);
  EXPECT_EQ(rounds_.lowest_clock(), 4u);
  EXPECT_EQ(rounds_.oldest_base(40), 21u);
  EXPECT_EQ(rounds_.member(2)->clock(), 9u);
  EXPECT_EQ(rounds_.member(3), nullptr);
}

// 1/W * min(1, W/(1 + tau)).
TEST(AsyncWeightTest, IsOneShareAndLessWhenStale) {
  EXPECT_EQ(AsyncWeight(0, 4), 0.25f);
  EXPECT_EQ(AsyncWeight(3, 4), 0.25f);
  EXPECT_EQ(AsyncWeight(4, 4), 0.2f);
  EXPECT_EQ(AsyncWeight(9, 4), 0.1f);
  EXPECT_EQ(AsyncWeight(0, 1), 1.0f);
  EXPECT_EQ(MaxStaleness(4, 4), 27u);
  EXPECT_EQ(MaxStaleness(4, 1), 0u);
}

}  // namespace
}  // namespace gradwire
