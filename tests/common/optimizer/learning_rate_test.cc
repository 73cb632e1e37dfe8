// SPDX-License-Identifier: Apache-2.0
// The learning rate is the base rate times all factors, and remembers evaluations.
#include "common/optimizer/learning_rate.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace gradwire {
namespace {

std::vector<std::unique_ptr<Schedule>> Schedules(std::initializer_list<const char*> specs) {
  std::vector<std::unique_ptr<Schedule>> schedules;
  for (const char* spec : specs) schedules.push_back(*MakeSchedule(spec));
  return schedules;
}

TEST(LearningRateTest, IsTheBaseRateWithoutSchedules) {
  const LearningRate rate(0.1F, {});
  EXPECT_EQ(rate.At(7), 0.1F);
  EXPECT_FALSE(rate.observes());
}

TEST(LearningRateTest, IsTheProductRoundedToFloatOnce) {
  const auto schedules = Schedules({"linear_warmup:steps=3", "step_decay:at=1,factor=0.3"});
  const LearningRate rate(0.1F, schedules);
  EXPECT_FALSE(rate.observes());
  // Not 0.1F * (float)(2/3) * 0.3F, which rounds twice more.
  EXPECT_EQ(rate.At(2), static_cast<float>(double{0.1F} * (2.0 / 3.0) * 0.3));
  EXPECT_EQ(rate.At(1), static_cast<float>(double{0.1F} * (1.0 / 3.0)));
}

TEST(LearningRateTest, EverySchedulesRemembersForItself) {
  const auto schedules = Schedules(
      {"plateau:factor=0.5,patience=1,metric=loss", "constant", "plateau:factor=0.25,metric=loss"});
  LearningRate rate(1, schedules);
  LearningRate other(1, schedules);
  EXPECT_TRUE(rate.observes());
  const float want[] = {1, 0.25F, 0.5F / 16, 0.5F / 64};
  for (const float factor : want) {
    v1::Evaluation evaluation;
    evaluation.set_loss(3);
    rate.Observe(evaluation);
    EXPECT_EQ(rate.At(1), factor);
  }
  EXPECT_EQ(other.At(1), 1);  // the state is not the schedule's
}

TEST(LearningRateTest, OtherSchedulesRememberNothing) {
  const auto before = Schedules({"plateau:factor=0.5,metric=loss"});
  const auto after = Schedules({"constant", "plateau:factor=0.25,metric=loss"});
  LearningRate rate(1, before);
  v1::Evaluation evaluation;
  evaluation.set_loss(3);
  for (int i = 0; i < 3; ++i) rate.Observe(evaluation);
  EXPECT_EQ(rate.At(1), 0.25F);
  rate.Replace(after);
  EXPECT_EQ(rate.At(1), 1);
  rate.Observe(evaluation);  // its first, and its best
  EXPECT_EQ(rate.At(1), 1);
  rate.Observe(evaluation);
  EXPECT_EQ(rate.At(1), 0.25F);
  EXPECT_EQ(rate.state().size(), 4U);
}

}  // namespace
}  // namespace gradwire
