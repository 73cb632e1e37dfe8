// SPDX-License-Identifier: Apache-2.0
// Leases: who gets which rank, who may speak, who is lost when.
#include "server/membership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::Membership Config() {
  v1::Membership config;
  config.set_lease_seconds(10);
  return config;
}

class MembershipTest : public testing::Test {
 protected:
  absl::StatusOr<WorkerEntry*> Join(const std::string& id, uint64_t session) {
    return membership_.Join(id, session, "1.2.3.4:5", now_, &replaced_);
  }
  uint32_t RankOf(const std::string& id, uint64_t session = 1) {
    const auto worker = Join(id, session);
    EXPECT_TRUE(worker.ok()) << worker.status();
    return worker.ok() ? (*worker)->rank : 999;
  }
  WorkerEntry* Entry(const std::string& id) {
    return const_cast<WorkerEntry*>(&membership_.workers().at(id));
  }
  void Lose(const std::string& id) {
    membership_.Remove(Entry(id), WorkerEntry::State::kLost, "test");
  }

  Membership membership_{Config()};
  absl::Duration now_ = absl::Seconds(100);
  bool replaced_ = false;
};

TEST_F(MembershipTest, ANewIdGetsTheLowestFreeRank) {
  EXPECT_EQ(RankOf("a"), 0u);
  EXPECT_EQ(RankOf("b"), 1u);
  EXPECT_EQ(RankOf("c"), 2u);
  Lose("b");
  EXPECT_EQ(RankOf("d"), 1u);
  EXPECT_EQ(RankOf("e"), 3u);
}

TEST_F(MembershipTest, AReturningIdGetsItsOwnRankAndANewIncarnation) {
  RankOf("a");
  RankOf("b");
  RankOf("c");
  Lose("a");
  Lose("c");
  EXPECT_EQ(RankOf("c", 2), 2u);  // not 0, the lowest free one
  EXPECT_EQ(Entry("c")->incarnation, 2u);
  EXPECT_FALSE(replaced_);  // nobody alive gave way
}

TEST_F(MembershipTest, AReturningIdWhoseRankIsTakenGetsTheLowestFreeOne) {
  RankOf("a");
  RankOf("b");
  Lose("a");
  EXPECT_EQ(RankOf("z"), 0u);
  EXPECT_EQ(RankOf("a", 2), 2u);
  EXPECT_EQ(membership_.AliveWithRank(0)->id, "z");
  EXPECT_EQ(membership_.AliveWithRank(2)->id, "a");
  EXPECT_EQ(membership_.AliveWithRank(3), nullptr);
}

TEST_F(MembershipTest, ARepeatedJoinIsAnsweredAsTheFirst) {
  RankOf("a", 7);
  Entry("a")->connected = true;
  now_ += absl::Seconds(3);
  const auto again = Join("a", 7);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ((*again)->rank, 0u);
  EXPECT_EQ((*again)->incarnation, 1u);
  EXPECT_EQ((*again)->last_heard, now_);
}

TEST_F(MembershipTest, AnotherSessionOfALivingIdIsRefusedNamingTheHolder) {
  RankOf("a", 7);
  Entry("a")->connected = true;
  now_ += absl::Seconds(3);
  const auto other = Join("a", 8);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kAlreadyExists);
  for (const char* part : {"\"a\"", "1.2.3.4:5", "rank 0", "3s ago", "--worker_id"}) {
    EXPECT_THAT(std::string(other.status().message()), HasSubstr(part));
  }
  EXPECT_EQ(Entry("a")->incarnation, 1u);
}

TEST_F(MembershipTest, AHolderGivesWayOnceItsStreamIsBrokenOrItNeverOpenedOne) {
  struct Case {
    const char* name;
    bool broken;
    absl::Duration after;
    bool replaced;
  };
  const Case cases[] = {
      {.name = "broken", .broken = true, .after = absl::ZeroDuration(), .replaced = true},
      {.name = "no_stream_yet", .broken = false, .after = absl::Seconds(2), .replaced = false},
      {.name = "silent", .broken = false, .after = absl::Milliseconds(2001), .replaced = true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    RankOf(c.name, 1);
    Entry(c.name)->broken = c.broken;
    now_ += c.after;
    EXPECT_EQ(Join(c.name, 2).ok(), c.replaced);
    EXPECT_EQ(replaced_, c.replaced);
    EXPECT_EQ(Entry(c.name)->incarnation, c.replaced ? 2u : 1u);
  }
}

TEST_F(MembershipTest, TheIncarnationIsAFence) {
  RankOf("a", 1);
  Lose("a");
  RankOf("a", 2);
  EXPECT_TRUE(membership_.Find("a", 2).ok());
  const absl::Status old = membership_.Find("a", 1).status();
  EXPECT_EQ(old.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(old.message()), HasSubstr("incarnation 1 has been replaced by 2"));
  EXPECT_EQ(membership_.Find("a", 3).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(membership_.Find("b", 1).status().code(), absl::StatusCode::kNotFound);
  membership_.Remove(Entry("a"), WorkerEntry::State::kLeft, "went home");
  const absl::Status left = membership_.Find("a", 2).status();
  EXPECT_EQ(left.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(left.message()), HasSubstr("went home"));
}

TEST_F(MembershipTest, ALeaseAndTheGraceOfABrokenStreamEndOnTime) {
  RankOf("silent");
  RankOf("heard");
  RankOf("broken");
  Entry("broken")->broken = true;
  Entry("broken")->broken_at = now_;
  now_ += absl::Seconds(2);
  EXPECT_THAT(membership_.Expire(now_), IsEmpty());
  now_ += absl::Milliseconds(1);
  auto lost = membership_.Expire(now_);
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0]->id, "broken");
  EXPECT_THAT(lost[0]->note, HasSubstr("2s"));
  Entry("heard")->last_heard = now_;
  now_ = absl::Seconds(110);
  EXPECT_THAT(membership_.Expire(now_), IsEmpty());
  now_ += absl::Milliseconds(1);
  lost = membership_.Expire(now_);
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0]->id, "silent");
  EXPECT_EQ(lost[0]->state, WorkerEntry::State::kLost);
  EXPECT_THAT(lost[0]->note, HasSubstr("10s"));
  EXPECT_EQ(membership_.alive(), 1u);
}

TEST_F(MembershipTest, ReadyMembersComeInRankOrder) {
  for (const char* id : {"z", "m", "a", "q"}) RankOf(id);
  for (const char* id : {"a", "z", "q"}) Entry(id)->state = WorkerEntry::State::kReady;
  const auto members = membership_.ReadyMembers();
  ASSERT_EQ(members.size(), 3u);
  EXPECT_EQ(members[0].id(), "z");
  EXPECT_EQ(members[1].id(), "a");
  EXPECT_EQ(members[2].id(), "q");
  EXPECT_EQ(members[2].rank(), 3u);
  EXPECT_EQ(members[2].incarnation(), 1u);
  EXPECT_EQ(membership_.ready(), 3u);
}

TEST_F(MembershipTest, RemembersABoundedNumberOfThoseThatAreGone) {
  for (size_t i = 0; i < Membership::kMaxGone + 50; ++i) {
    const std::string id = absl::StrCat("w", i);
    now_ += absl::Milliseconds(1);
    EXPECT_EQ(RankOf(id), 0u);
    Lose(id);
  }
  EXPECT_LE(membership_.workers().size(), Membership::kMaxGone + 2);
  EXPECT_EQ(membership_.workers().count("w0"), 0u);  // the oldest went first
  EXPECT_EQ(membership_.workers().count(absl::StrCat("w", Membership::kMaxGone + 49)), 1u);
}

}  // namespace
}  // namespace gradwire
