// SPDX-License-Identifier: Apache-2.0
// Schedules against values worked out by hand.
#include "common/optimizer/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

namespace gradwire {
namespace {

using testing::HasSubstr;

TEST(ScheduleTest, FactorsFollowTheSteps) {
  const struct {
    const char* spec;
    std::vector<std::pair<uint64_t, double>> factors;
  } cases[] = {
      {"constant", {{1, 1}, {uint64_t{1} << 40, 1}}},
      {"step_decay:1000", {{1, 1}, {1000, 1}, {1001, 0.1}, {5000, 0.1}}},
      {"step_decay:at=10+20,factor=0.5", {{10, 1}, {11, 0.5}, {20, 0.5}, {21, 0.25}, {99, 0.25}}},
      {"linear_warmup:4", {{1, 0.25}, {2, 0.5}, {3, 0.75}, {4, 1}, {5, 1}, {1000, 1}}},
      {"linear_warmup:steps=1", {{1, 1}, {2, 1}}},
  };
  for (const auto& c : cases) {
    const auto schedule = MakeSchedule(c.spec);
    ASSERT_TRUE(schedule.ok()) << schedule.status();
    for (const auto& [step, want] : c.factors) {
      EXPECT_EQ((*schedule)->Factor(step), want) << c.spec << " step " << step;
    }
  }
}

TEST(ScheduleTest, RateIsTheProductRoundedToFloatOnce) {
  std::vector<std::unique_ptr<Schedule>> factors;
  EXPECT_EQ(LearningRate(0.1F, factors, 7), 0.1F);
  factors.push_back(*MakeSchedule("linear_warmup:steps=3"));
  factors.push_back(*MakeSchedule("step_decay:at=1,factor=0.3"));
  // Not 0.1F * (float)(2/3) * 0.3F, which rounds twice more.
  const double exact = double{0.1F} * (2.0 / 3.0) * 0.3;
  EXPECT_EQ(LearningRate(0.1F, factors, 2), static_cast<float>(exact));
  EXPECT_EQ(LearningRate(0.1F, factors, 1), static_cast<float>(double{0.1F} * (1.0 / 3.0)));
}

TEST(ScheduleTest, RefusesWithNameValueAndLimit) {
  const struct {
    const char* spec;
    const char* want;
  } cases[] = {
      {"", "no schedule \"\"; known: constant, step_decay, linear_warmup"},
      {"cosine:100", "no schedule \"cosine\""},
      {"constant:1", "no parameter for \"1\""},
      {"step_decay", "at is required"},
      {"step_decay:0", "at: 0 is not in [1, "},
      {"step_decay:at=1e13", "at: 1e13 is not in [1, "},
      {"step_decay:at=1.5", "at: 1.5 is not a whole number"},
      {"step_decay:at=20+10", "at: 10 stands after 20; steps must ascend"},
      {"step_decay:at=10+10", "at: 10 stands after 10"},
      {"step_decay:10,factor=0", "factor: 0 is not in (0, 1]"},
      {"step_decay:10,factor=1.5", "factor: 1.5 is not in (0, 1]"},
      {"linear_warmup", "steps is required"},
      {"linear_warmup:0", "steps: 0 is not in [1, "},
      {"linear_warmup:2.5", "steps: 2.5 is not a whole number"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.spec);
    const absl::Status status = MakeSchedule(c.spec).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

}  // namespace
}  // namespace gradwire
