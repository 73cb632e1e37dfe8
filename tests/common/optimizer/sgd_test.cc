// SPDX-License-Identifier: Apache-2.0
// What plain sgd touches and in which units, beside its numbers (torch_test.cc).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <vector>

#include "tests/common/optimizer/training.h"

namespace gradwire {
namespace {

using testing::ElementsAre;

TEST(SgdTest, DampeningWithoutMomentumIsPlain) {
  EXPECT_EQ(Made("sgd:lr=0.1,dampening=0.5")->units(), Units::kUpdate);
  EXPECT_EQ(Made("sgd:0.1,0.9,0,0.01,yes")->units(), Units::kGradient);
  EXPECT_EQ(Made("sgd:lr=0.1")->learning_rate(), 0.1F);
}

TEST(SgdTest, PlainSubtractsAnUpdateWhateverTheLearningRate) {
  Training training("sgd:lr=0.1", {1, 2, 3});
  training.Step(7, {.dense = true, .indices = {}, .values = {0.5F, -1, 4}}, Units::kUpdate);
  EXPECT_THAT(training.parameters(), ElementsAre(0.5F, 3, -1));
}

TEST(SgdTest, PlainTakesTheLearningRateTimesAGradient) {
  const BlockValues forms[] = {
      {.dense = true, .indices = {}, .values = {0.5F, 0, 4}},
      {.dense = false, .indices = {0, 2}, .values = {0.5F, 4}},
  };
  for (const BlockValues& gradient : forms) {
    Training training("sgd:lr=0.1", {1, 2, 3});
    training.Step(0.25F, gradient, Units::kGradient);
    EXPECT_THAT(training.parameters(), ElementsAre(0.875F, 2, 2));
  }
}

TEST(SgdTest, PlainSparseUpdateLeavesTheOthersBitForBit) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> before = {-0.0F, 1, kNan, 2, -0.0F};
  for (const Units units : {Units::kUpdate, Units::kGradient}) {
    Training training("sgd:lr=0.1", before);
    training.Step(1, {.dense = false, .indices = {1, 3}, .values = {0.25F, 3}}, units);
    EXPECT_EQ(training.parameters()[1], 0.75F);
    EXPECT_EQ(training.parameters()[3], -1);
    for (const size_t i : {0, 2, 4}) {
      EXPECT_EQ(std::memcmp(&training.parameters()[i], &before[i], sizeof(float)), 0) << i;
    }
  }
}

}  // namespace
}  // namespace gradwire
