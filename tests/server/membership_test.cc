// SPDX-License-Identifier: Apache-2.0
// Leases: who gets which rank, who may speak, who is lost when.
#include "server/membership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/server/membership_fixture.h"

namespace gradwire {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using State = WorkerEntry::State;

class MembershipTest : public MembershipFixture {
 protected:
  MembershipTest() : MembershipFixture(v1::Membership::ELASTIC) {}
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
  membership_.Remove(Entry("a"), State::kLeft, "went home");
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
  EXPECT_THAT(Pass(absl::Seconds(2)), IsEmpty());
  EXPECT_THAT(Pass(absl::Milliseconds(1)), ElementsAre("broken"));
  EXPECT_THAT(Entry("broken")->note, HasSubstr("2s"));
  Entry("heard")->last_heard = now_;
  EXPECT_THAT(Pass(absl::Seconds(110) - now_), IsEmpty());
  EXPECT_THAT(Pass(absl::Milliseconds(1)), ElementsAre("silent"));
  EXPECT_EQ(Entry("silent")->state, State::kLost);
  EXPECT_THAT(Entry("silent")->note, HasSubstr("10s"));
  EXPECT_EQ(membership_.alive(), 1u);
}

TEST_F(MembershipTest, AServerThatWasStoppedExpiresNobodyOnItsReturn) {
  RankOf("silent");
  RankOf("broken");
  Entry("broken")->broken = true;
  Entry("broken")->broken_at = now_;
  EXPECT_THAT(Pass(absl::Milliseconds(500)), IsEmpty());
  now_ += absl::Minutes(1);
  EXPECT_THAT(membership_.Expire(now_), IsEmpty());
  EXPECT_THAT(Pass(absl::Milliseconds(1500)), IsEmpty());  // what was left of the grace
  EXPECT_THAT(Pass(absl::Milliseconds(1)), ElementsAre("broken"));
  EXPECT_THAT(Pass(absl::Milliseconds(7999)), IsEmpty());  // and of the lease
  EXPECT_THAT(Pass(absl::Milliseconds(1)), ElementsAre("silent"));
}

TEST_F(MembershipTest, OnlyAPauseOfMoreThanASecondIsForgivenAndNobodyIsHeardInTheFuture) {
  struct Case {
    absl::Duration pause;
    bool lost;
  };
  for (const Case& c : {Case{absl::Milliseconds(1000), true}, Case{absl::Milliseconds(1001), false},
                        Case{absl::Hours(9), false}}) {
    SCOPED_TRACE(absl::FormatDuration(c.pause));
    RankOf("silent", static_cast<uint64_t>(absl::ToInt64Nanoseconds(now_)));
    RankOf("heard");
    EXPECT_THAT(Pass(absl::Milliseconds(9900)), IsEmpty());
    now_ += c.pause;
    Entry("heard")->last_heard = now_ - absl::Milliseconds(1);
    EXPECT_EQ(membership_.Expire(now_).size(), c.lost ? 1u : 0u);
    EXPECT_LE(Entry("heard")->last_heard, now_);
    Entry("heard")->last_heard = now_;
    Lose("silent");
  }
}

TEST_F(MembershipTest, ReadyMembersComeInRankOrder) {
  for (const char* id : {"z", "m", "a", "q"}) RankOf(id);
  for (const char* id : {"a", "z", "q"}) Entry(id)->state = State::kReady;
  const auto members = membership_.ReadyMembers();
  ASSERT_EQ(members.size(), 3u);
  EXPECT_EQ(members[0].id(), "z");
  EXPECT_EQ(members[1].id(), "a");
  EXPECT_EQ(members[2].id(), "q");
  EXPECT_EQ(members[2].rank(), 3u);
  EXPECT_EQ(members[2].incarnation(), 1u);
  EXPECT_EQ(membership_.ready(), 3u);
}

TEST_F(MembershipTest, AfterARestartTheMembersAreWaitedForOneLease) {
  membership_.Restore({MakeMember("b", 2, 1), MakeMember("a", 0, 3)}, now_);
  ASSERT_EQ(membership_.ReadyMembers().size(), 2u);
  EXPECT_EQ(membership_.ReadyMembers()[0].id(), "a");
  EXPECT_EQ(membership_.ReadyMembers()[0].incarnation(), 3u);
  EXPECT_EQ(membership_.NextMembers().size(), 2u);
  EXPECT_TRUE(Entry("a")->restored);
  EXPECT_FALSE(Entry("a")->connected);
  EXPECT_TRUE(membership_.Find("a", 3).ok());
  EXPECT_EQ(membership_.Find("a", 2).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(RankOf("new"), 1u);  // theirs are taken
  now_ += absl::Seconds(40);     // the replay of the log
  EXPECT_THAT(membership_.Expire(now_), IsEmpty());
  ASSERT_TRUE(membership_.Adopt(Entry("a"), 7).ok());
  Entry("a")->last_heard = now_ + absl::Seconds(5);
  Entry("new")->last_heard = now_ + absl::Seconds(5);
  EXPECT_THAT(Pass(absl::Seconds(10)), IsEmpty());
  EXPECT_THAT(Pass(absl::Milliseconds(1)), ElementsAre("b"));
  EXPECT_THAT(Entry("b")->note, HasSubstr("after the server's restart"));
}

TEST_F(MembershipTest, ARestoredMemberGivesWayToAJoinAtOnce) {
  for (const uint64_t session : {uint64_t{9}, uint64_t{0}}) {
    SCOPED_TRACE(session);
    membership_.Restore({MakeMember("a", 4, 3)}, now_);
    EXPECT_EQ(RankOf("a", session), 4u);
    EXPECT_TRUE(replaced_);
    EXPECT_EQ(Entry("a")->incarnation, 4u);
    EXPECT_FALSE(Entry("a")->restored);
    EXPECT_EQ(Entry("a")->state, State::kLeased);
    EXPECT_EQ(RankOf("a", session), 4u);  // the same again: its own
    EXPECT_EQ(Entry("a")->incarnation, 4u);
  }
}

TEST_F(MembershipTest, AHelloOfAnotherProcessIsRefused) {
  membership_.Restore({MakeMember("restored", 0, 3)}, now_);
  RankOf("joined", 5);
  struct Case {
    const char* id;
    uint64_t session;
    bool accepted;
  };
  const Case cases[] = {
      {"joined", 5, true},   {"joined", 6, false},   {"joined", 0, true},  // an older client
      {"restored", 0, true},                                               // tells nothing
      {"restored", 8, true},                                               // now it is known
      {"restored", 8, true}, {"restored", 9, false}, {"restored", 0, true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.id, " ", c.session));
    const absl::Status status = membership_.Adopt(Entry(c.id), c.session);
    EXPECT_EQ(status.code(), c.accepted ? absl::StatusCode::kOk : absl::StatusCode::kAborted);
    if (!c.accepted) {
      EXPECT_THAT(std::string(status.message()), HasSubstr("join again"));
    }
    EXPECT_FALSE(Entry(c.id)->restored);
  }
  EXPECT_EQ(Entry("joined")->session, 5u);
  EXPECT_EQ(RankOf("restored", 8), 0u);  // a repeated Join of the same process
  EXPECT_EQ(Entry("restored")->incarnation, 3u);
}

TEST_F(MembershipTest, AReadyWorkerWhoseTrainerDoesNotGetOnIsStuck) {
  for (const char* id : {"stuck", "busy", "joining", "lost"}) {
    RankOf(id);
    MakeReady(id);
    Entry(id)->progress_age = absl::Seconds(61);
  }
  Entry("busy")->progress_age = absl::Seconds(60);
  Entry("joining")->state = State::kLeased;
  Lose("lost");
  const auto stuck = membership_.Stuck(absl::Seconds(60));
  ASSERT_EQ(stuck.size(), 1u);
  EXPECT_EQ(stuck[0]->id, "stuck");
  membership_.Remove(stuck[0], State::kLost, "stuck");
  EXPECT_THAT(membership_.Stuck(absl::Seconds(60)), IsEmpty());
  RankOf("stuck", 2);
  MakeReady("stuck");
  EXPECT_THAT(membership_.Stuck(absl::Seconds(60)), IsEmpty());  // the new one has just begun
}

TEST_F(MembershipTest, TheOldestSavedVersionIsThatOfTheLiving) {
  EXPECT_EQ(membership_.OldestSaved(), std::nullopt);
  for (const char* id : {"a", "b", "c"}) RankOf(id);
  EXPECT_EQ(membership_.OldestSaved(), std::nullopt);
  Entry("a")->saved_version = 300;
  Entry("b")->saved_version = 0;
  EXPECT_EQ(membership_.OldestSaved(), 0u);
  Lose("b");
  EXPECT_EQ(membership_.OldestSaved(), 300u);
  RankOf("b", 2);
  EXPECT_EQ(membership_.OldestSaved(), 0u);  // kept over incarnations
}

TEST_F(MembershipTest, NothingIsFixedInAnElasticJob) {
  RankOf("a");
  RankOf("b");
  MakeReady("a");
  EXPECT_THAT(membership_.Fix(membership_.ReadyMembers()), IsEmpty());
  EXPECT_EQ(RankOf("c"), 2u);
  Lose("a");
  EXPECT_THAT(membership_.NextMembers(), IsEmpty());
  Pass(absl::Seconds(100));
  EXPECT_EQ(membership_.LostTooLong(now_), nullptr);
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
