// SPDX-License-Identifier: Apache-2.0
// Membership of mode FIXED: the members of step 1 stay, and are waited for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/membership.h"
#include "tests/server/membership_fixture.h"

namespace gradwire {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using State = WorkerEntry::State;

class MembershipFixedTest : public MembershipFixture {
 protected:
  MembershipFixedTest() : MembershipFixture(v1::Membership::FIXED) {}

  void Begin(const std::vector<std::string>& ids) {
    for (const std::string& id : ids) {
      RankOf(id);
      MakeReady(id);
    }
    membership_.Fix(membership_.ReadyMembers());
  }
  // "id:rank:incarnation" of each.
  std::vector<std::string> Next() {
    std::vector<std::string> texts;
    for (const v1::Member& member : membership_.NextMembers()) {
      texts.push_back(absl::StrCat(member.id(), ":", member.rank(), ":", member.incarnation()));
    }
    return texts;
  }
};

TEST_F(MembershipFixedTest, BeforeStep1ItIsAsElastic) {
  RankOf("a");
  RankOf("b");
  MakeReady("b");
  EXPECT_THAT(Next(), ElementsAre("b:1:1"));
  Lose("a");
  EXPECT_EQ(RankOf("c"), 0u);
  Pass(absl::Seconds(50));
  EXPECT_EQ(membership_.LostTooLong(now_), nullptr);
}

TEST_F(MembershipFixedTest, TheMembersStayInRankOrderWithTheIncarnationsOfNow) {
  Begin({"z", "m", "a"});
  EXPECT_THAT(Next(), ElementsAre("z:0:1", "m:1:1", "a:2:1"));
  Lose("m");
  membership_.Remove(Entry("a"), State::kLeft, "went home");
  EXPECT_THAT(Next(), ElementsAre("z:0:1", "m:1:1", "a:2:1"));
  EXPECT_EQ(RankOf("a", 2), 2u);  // not the lowest free one; and it is not ready yet
  EXPECT_THAT(Next(), ElementsAre("z:0:1", "m:1:1", "a:2:2"));
}

TEST_F(MembershipFixedTest, AnotherIdIsToldWhoTheMembersAre) {
  Begin({"z", "a"});
  Lose("a");
  for (const char* id : {"x", "y"}) {
    const absl::Status status = Join(id, 1).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(absl::StrCat("the members of this job are fixed: \"z\", \"a\"; worker id "
                                       "\"",
                                       id, "\" is none of them (membership.mode FIXED)")));
  }
  EXPECT_EQ(membership_.workers().size(), 2u);
}

TEST_F(MembershipFixedTest, OfManyMembersEightAreNamed) {
  std::vector<std::string> ids;
  for (int i = 0; i < 9; ++i) ids.push_back(absl::StrCat("w", i));
  Begin(ids);
  const std::string message(Join("x", 1).status().message());
  EXPECT_THAT(message, HasSubstr("\"w6\", \"w7\", ... (9 in all); worker id \"x\""));
}

TEST_F(MembershipFixedTest, WhoWasNotReadyWhenStep1BeganIsSentAway) {
  RankOf("a");
  RankOf("late");
  RankOf("gone");
  MakeReady("a");
  Lose("gone");
  const auto others = membership_.Fix(membership_.ReadyMembers());
  ASSERT_EQ(others.size(), 1u);
  EXPECT_EQ(others[0]->id, "late");
  EXPECT_TRUE(membership_.CheckMayJoin("a").ok());
  for (const char* id : {"late", "gone"}) {
    EXPECT_EQ(membership_.CheckMayJoin(id).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(Join(id, 1).status().code(), absl::StatusCode::kFailedPrecondition);
  }
  MakeReady("late");
  EXPECT_THAT(Next(), ElementsAre("a:0:1"));
}

TEST_F(MembershipFixedTest, ALostOneIsWaitedForUntilItsTimeIsUp) {
  Begin({"a", "b"});
  Entry("a")->last_heard = absl::Seconds(1000);
  EXPECT_THAT(Pass(absl::Milliseconds(10001)), ElementsAre("b"));  // its lease; then 30 s
  EXPECT_THAT(Pass(absl::Seconds(30)), IsEmpty());
  EXPECT_EQ(membership_.LostTooLong(now_), nullptr);
  Lose("b");  // again: its time does not begin anew
  Pass(absl::Milliseconds(1));
  ASSERT_NE(membership_.LostTooLong(now_), nullptr);
  EXPECT_EQ(membership_.LostTooLong(now_)->id, "b");
  RankOf("b", 2);
  EXPECT_EQ(membership_.LostTooLong(now_), nullptr);
  membership_.Remove(Entry("a"), State::kLeft, "went home");
  Entry("b")->last_heard = absl::Seconds(1000);
  Pass(absl::Milliseconds(30001));
  ASSERT_NE(membership_.LostTooLong(now_), nullptr);
  EXPECT_EQ(membership_.LostTooLong(now_)->id, "a");
}

TEST_F(MembershipFixedTest, AServerThatWasStoppedGivesUpNobodyOnItsReturn) {
  Begin({"a"});
  Pass(absl::Milliseconds(100));
  Lose("a");
  now_ += absl::Hours(1);
  EXPECT_THAT(membership_.Expire(now_), IsEmpty());
  EXPECT_EQ(membership_.LostTooLong(now_), nullptr);
  Pass(absl::Seconds(30));
  EXPECT_EQ(membership_.LostTooLong(now_), nullptr);
  Pass(absl::Milliseconds(1));
  EXPECT_NE(membership_.LostTooLong(now_), nullptr);
}

TEST_F(MembershipFixedTest, AfterARestartTheSameMembersAreFixed) {
  const std::vector<v1::Member> members = {MakeMember("a", 0, 3), MakeMember("b", 1, 1)};
  membership_.Restore(members, now_);
  EXPECT_THAT(membership_.Fix(members), IsEmpty());
  EXPECT_EQ(Join("x", 1).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Pass(absl::Milliseconds(10001)), ElementsAre("a", "b"));
  EXPECT_THAT(Next(), ElementsAre("a:0:3", "b:1:1"));
  EXPECT_EQ(RankOf("b", 5), 1u);
  EXPECT_THAT(Next(), ElementsAre("a:0:3", "b:1:2"));
  Pass(absl::Seconds(31));
  ASSERT_NE(membership_.LostTooLong(now_), nullptr);
  EXPECT_EQ(membership_.LostTooLong(now_)->id, "a");
}

TEST_F(MembershipFixedTest, AMemberIsRememberedHoweverManyAreGone) {
  for (size_t i = 0; i < 5; ++i) {
    RankOf(absl::StrCat("stranger", i));
    Lose(absl::StrCat("stranger", i));
  }
  std::vector<v1::Member> members;
  for (uint32_t i = 0; i < Membership::kMaxGone + 50; ++i) {
    members.push_back(MakeMember(absl::StrCat("w", i), i, 1));
  }
  membership_.Restore(members, now_);
  membership_.Fix(members);
  for (const v1::Member& member : members) Lose(member.id());
  for (const v1::Member& member : members) {
    now_ += absl::Milliseconds(1);
    ASSERT_EQ(RankOf(member.id(), 2), member.rank());
    ASSERT_EQ(Entry(member.id())->incarnation, 2u);
    Lose(member.id());
  }
  EXPECT_EQ(membership_.NextMembers().size(), members.size());
}

TEST_F(MembershipFixedTest, TheSavedStatesOfMembersThatAreGoneCount) {
  RankOf("stranger");
  Entry("stranger")->saved_version = 10;
  Lose("stranger");
  Begin({"a", "b"});
  Entry("a")->saved_version = 300;
  Entry("b")->saved_version = 200;
  Lose("b");
  EXPECT_EQ(membership_.OldestSaved(), 200u);
  membership_.Remove(Entry("a"), State::kLeft, "went home");
  Entry("b")->saved_version.reset();
  EXPECT_EQ(membership_.OldestSaved(), 300u);
}

}  // namespace
}  // namespace gradwire
