// SPDX-License-Identifier: Apache-2.0
// What a job file says of members and rounds: defaults, and what does not go together.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/common/replica/small_job.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

TEST(JobConsistencyTest, FixedMembersAreWaitedForTenMinutesUnlessSaidOtherwise) {
  const auto job = Make(std::string(kSmall) + "membership { mode: FIXED workers: 3 }");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ((*job)->config.membership().ShortDebugString(),
            "mode: FIXED workers: 3 min_workers: 1 lease_seconds: 10 start_timeout_seconds: 600 "
            "lost_timeout_seconds: 600");
  EXPECT_TRUE(Make(JobText((*job)->config)).ok());
  const auto other =
      Make(std::string(kSmall) +
           "membership { mode: FIXED lost_timeout_seconds: 0.1 step_timeout_seconds: 604800 }");
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ((*other)->config.membership().lost_timeout_seconds(), 0.1);
}

TEST(JobConsistencyTest, AQuorumIsAllButOneAndHalfOfItWithinASecond) {
  const struct {
    const char* rest;
    uint32_t workers;
    uint32_t min_workers;
  } cases[] = {
      {"", 1, 1},
      {"membership { workers: 1 }", 1, 1},
      {"membership { workers: 2 }", 1, 1},
      {"membership { workers: 3 }", 2, 1},
      {"membership { workers: 4 }", 3, 2},
      {"membership { mode: FIXED workers: 100000 }", 99999, 50000},
      {"membership { workers: 4 } quorum { workers: 4 }", 4, 2},
      {"membership { workers: 4 } quorum { workers: 4 min_workers: 4 }", 4, 4},
      {"membership { workers: 4 } quorum { deadline_seconds: 1 }", 3, 2},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.rest);
    const auto job = Make(absl::StrCat(kSmall, "consistency: QUORUM ", c.rest));
    ASSERT_TRUE(job.ok()) << job.status();
    const v1::Quorum& quorum = (*job)->config.quorum();
    EXPECT_EQ(quorum.workers(), c.workers);
    EXPECT_EQ(quorum.min_workers(), c.min_workers);
    EXPECT_EQ(quorum.deadline_seconds(), 1);
    const auto again = Make(JobText((*job)->config));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(JobText((*again)->config), JobText((*job)->config));
    EXPECT_EQ((*again)->schema_hash, (*Make(kSmall))->schema_hash);  // what is computed is the same
  }
}

TEST(JobConsistencyTest, RefusesAQuorumOrAMembershipThatCannotBeMeant) {
  const struct {
    const char* rest;
    const char* want;
  } cases[] = {
      {"quorum { workers: 1 }", "quorum: of no use with consistency SYNC"},
      {"consistency: SYNC quorum { }", "set consistency QUORUM"},
      {"consistency: QUORUM membership { workers: 3 } quorum { workers: 4 }",
       "quorum.workers: 4 is not in [1, 3]"},
      {"consistency: QUORUM membership { workers: 3 } quorum { min_workers: 3 }",
       "quorum.min_workers: 3 is not in [1, 2]"},
      {"consistency: QUORUM quorum { deadline_seconds: 0.0009 }",
       "quorum.deadline_seconds: 0.0009 is not in [0.001, 3600]"},
      {"consistency: QUORUM quorum { deadline_seconds: 3601 }", "quorum.deadline_seconds: 3601"},
      {"consistency: QUORUM quorum { deadline_seconds: nan }", "quorum.deadline_seconds: nan"},
      {"consistency: QUORUM error_feedback: 'ef21' codec: 'top_k:0.5'",
       "consistency: QUORUM does not go with error_feedback \"ef21\""},
      {"consistency: QUORUM error_feedback: 'ef21_sgdm:beta=0.1' codec: 'top_k:0.5'",
       "choose SYNC or error_feedback classic"},
      {"membership { mode: FIXED workers: 3 min_workers: 2 }",
       "membership.min_workers: 2 is of no use with membership.mode FIXED"},
      {"membership { mode: FIXED lost_timeout_seconds: 0.09 }",
       "membership.lost_timeout_seconds: 0.09 is not in [0.1, 604800]"},
      {"membership { mode: FIXED lost_timeout_seconds: 604801 }",
       "membership.lost_timeout_seconds: 604801 is not"},
      {"membership { mode: FIXED lost_timeout_seconds: nan }", "lost_timeout_seconds: nan is not"},
      {"membership { lost_timeout_seconds: 60 }",
       "membership.lost_timeout_seconds: 60 is of no use with membership.mode ELASTIC"},
      {"membership { step_timeout_seconds: 0.09 }",
       "membership.step_timeout_seconds: 0.09 is not in [0.1, 604800]"},
      {"membership { step_timeout_seconds: -1 }", "membership.step_timeout_seconds: -1 is not"},
      {"membership { step_timeout_seconds: nan }", "membership.step_timeout_seconds: nan is not"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.rest);
    const absl::Status status = Make(absl::StrCat(kSmall, c.rest)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST(JobConsistencyTest, AnAsyncJobHasALeadAndAnotherSchema) {
  const auto job = Make(absl::StrCat(kSmall, "consistency: ASYNC"));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ((*job)->config.async().max_lead(), 4u);
  EXPECT_NE((*job)->schema_hash, (*Make(kSmall))->schema_hash);
  const auto again = Make(JobText((*job)->config));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->schema_hash, (*job)->schema_hash);
}

TEST(JobConsistencyTest, RefusesWhatDoesNotGoWithAsync) {
  const struct {
    const char* rest;
    const char* want;
  } cases[] = {
      {"consistency: SYNC async { }", "async: of no use with consistency SYNC"},
      {"consistency: QUORUM async { }", "set consistency ASYNC"},
      {"consistency: ASYNC quorum { }", "quorum: of no use with consistency ASYNC"},
      {"consistency: ASYNC async { max_lead: 1001 }", "async.max_lead: 1001 is not in [1, 1000]"},
      {"consistency: ASYNC perturbation: 'gaussian:std=0.1'",
       "ASYNC does not go with perturbation \"gaussian:std=0.1\""},
      {"consistency: ASYNC reset: 'reset:steps=5'", "choose reset none"},
      {"consistency: ASYNC lag: 1", "ASYNC does not go with lag \"1\""},
      {"lag: 2", "lag: 2 is not in [0, 1]"},
      {"consistency: ASYNC optimizer: 'sgld:lr=0.1'", "its noise is that of whole steps"},
      {"consistency: ASYNC codec: 'count_sketch'", "choose another codec"},
      {"consistency: ASYNC codec: 'top_k:0.1' downlink: 'compressed'",
       "ASYNC does not go with downlink \"compressed\""},
      {"consistency: ASYNC codec: 'top_k:0.5' error_feedback: 'ef21'",
       "ASYNC does not go with error_feedback \"ef21\""},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.rest);
    const absl::Status status = Make(absl::StrCat(kSmall, c.rest)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
  const absl::Status bases = Make(
                                 "model { tensors { tensor { name: 'm' shape: [ 90, 70 ] } } } "
                                 "steps: 1 codec: 'powersgd:1' consistency: ASYNC")
                                 .status();
  EXPECT_THAT(std::string(bases.message()), HasSubstr("does not go with codec \"powersgd\""));
  const absl::Status of_tensor =
      Make(absl::StrCat(kSmall, "consistency: ASYNC tensors { name: '*' codec: 'count_sketch' }"))
          .status();
  EXPECT_THAT(std::string(of_tensor.message()),
              HasSubstr("does not go with codec \"count_sketch\""));
}

}  // namespace
}  // namespace gradwire
