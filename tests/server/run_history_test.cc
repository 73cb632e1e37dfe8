// SPDX-License-Identifier: Apache-2.0
#include "server/run_history.h"

#include <gtest/gtest.h>

namespace gradwire {
namespace {

RunPoint PointOf(uint64_t version) { return {.version = version}; }

TEST(RunHistoryTest, ItKeepsTheFirstTheNewestAndAnEvenShareOfTheRestWithinItsBound) {
  RunHistory history;
  EXPECT_TRUE(history.PointsAfter(0).empty());
  for (uint64_t version = 1; version <= 5000; ++version) {
    history.Add(PointOf(version));
    const std::vector<RunPoint> points = history.PointsAfter(0);
    ASSERT_LE(points.size(), ThinnedSeries<RunPoint>::kMaxPoints + 1);
    ASSERT_EQ(points.front().version, 1u);
    ASSERT_EQ(points.back().version, version);
    if (version <= ThinnedSeries<RunPoint>::kMaxPoints) {
      ASSERT_EQ(points.size(), version);  // nothing is given up yet
    } else {
      ASSERT_GE(points.size(), ThinnedSeries<RunPoint>::kMaxPoints / 2);
      const uint64_t stride = points[1].version - points[0].version;
      for (size_t i = 2; i + 1 < points.size(); ++i) {
        ASSERT_EQ(points[i].version - points[i - 1].version, stride) << version;
      }
    }
  }
}

TEST(RunHistoryTest, AfterAVersionOnlyNewerPointsComeAndTheNewestAlways) {
  RunHistory history;
  for (uint64_t version = 1; version <= 2501; ++version) history.Add(PointOf(version));
  for (const uint64_t after : {uint64_t{0}, uint64_t{1}, uint64_t{1250}, uint64_t{2499}}) {
    const std::vector<RunPoint> points = history.PointsAfter(after);
    ASSERT_FALSE(points.empty());
    EXPECT_GT(points.front().version, after);
    EXPECT_EQ(points.back().version, 2501u);
    for (size_t i = 1; i < points.size(); ++i) {
      EXPECT_GT(points[i].version, points[i - 1].version);
    }
  }
  EXPECT_TRUE(history.PointsAfter(2501).empty());
}

TEST(RunHistoryTest, AnEvaluationThatIsKnownAlreadyIsNoNewOne) {
  RunHistory history;
  history.Add(RunEvaluation{.version = 4, .loss = 2});
  history.Add(RunEvaluation{.version = 4, .loss = 3});
  history.Add(RunEvaluation{.version = 2, .loss = 3});
  history.Add(RunEvaluation{.version = 8, .loss = 1});
  ASSERT_EQ(history.EvaluationsAfter(0).size(), 2u);
  EXPECT_EQ(history.EvaluationsAfter(0).front().loss, 2);
  EXPECT_EQ(history.EvaluationsAfter(4).size(), 1u);
}

}  // namespace
}  // namespace gradwire
