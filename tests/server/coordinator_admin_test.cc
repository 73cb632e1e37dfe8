// SPDX-License-Identifier: Apache-2.0
// What operators ask of a coordinator, and what it measures for them.
#include <gmock/gmock.h>

#include "tests/server/settings_fixture.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

class CoordinatorAdminTest : public testing::Test {
 protected:
  CrashingFileSystem disk_;  // outlives the cluster
};

using DrainAnswer = std::shared_ptr<std::optional<absl::StatusOr<v1::DrainResponse>>>;

DrainAnswer AskDrain(FakeCluster* cluster) {
  auto answer = std::make_shared<std::optional<absl::StatusOr<v1::DrainResponse>>>();
  cluster->coordinator->AskDrain([answer](absl::StatusOr<v1::DrainResponse> response) {
    EXPECT_FALSE(answer->has_value()) << "answered twice";
    *answer = std::move(response);
  });
  return answer;
}

SetAnswer Stop(FakeCluster* cluster) {
  auto answer = std::make_shared<std::optional<absl::StatusOr<v1::SetResponse>>>();
  cluster->coordinator->StopJob(absl::Seconds(60), [answer](absl::StatusOr<v1::SetResponse> got) {
    EXPECT_FALSE(answer->has_value()) << "answered twice";
    *answer = std::move(got);
  });
  return answer;
}

TEST_F(CoordinatorAdminTest, ASnapshotIsOfTheNewestVersionAndASecondCallFindsItThere) {
  SettingsCluster cluster("steps: 10 snapshot_every: 1000", &disk_);
  EXPECT_TRUE(absl::IsFailedPrecondition(cluster.coordinator->TakeSnapshot().status()));
  const auto workers = cluster.EnterAll(1);
  EXPECT_TRUE(absl::IsFailedPrecondition(cluster.coordinator->TakeSnapshot().status()));
  cluster.Steps(workers, 3);
  EXPECT_EQ(cluster.Status().snapshot_version(), 0u);
  for (int i = 0; i < 2; ++i) {
    const auto made = cluster.coordinator->TakeSnapshot();
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_EQ(made->version(), 3u);
    EXPECT_THAT(made->path(), HasSubstr("/state/snapshots/"));
    EXPECT_TRUE(disk_.Read(made->path(), 1000000).ok());
  }
  EXPECT_EQ(cluster.Status().snapshot_version(), 3u);
  cluster.Steps(workers, 1);  // the training goes on
  EXPECT_EQ(cluster.version(), 4u);
}

TEST_F(CoordinatorAdminTest, ADrainIsAskedForThenAnsweredWhenAllIsSaved) {
  SettingsCluster cluster("steps: 10 snapshot_every: 1000", &disk_);
  const auto workers = cluster.EnterAll(1);
  cluster.Steps(workers, 3);
  const DrainAnswer first = AskDrain(&cluster);
  const DrainAnswer second = AskDrain(&cluster);
  EXPECT_TRUE(cluster.coordinator->drain_asked());
  EXPECT_TRUE(cluster.coordinator->accepting());
  EXPECT_FALSE(first->has_value() || second->has_value());
  ASSERT_TRUE(cluster.coordinator->Drain(absl::ZeroDuration()).ok());
  EXPECT_FALSE(cluster.coordinator->accepting());
  for (const DrainAnswer& answer : {first, second}) {
    ASSERT_TRUE(answer->has_value() && (*answer)->ok());
    EXPECT_EQ((**answer)->version(), 3u);
  }
  EXPECT_EQ(cluster.Status().snapshot_version(), 3u);
  const DrainAnswer late = AskDrain(&cluster);
  ASSERT_TRUE(late->has_value());
  EXPECT_TRUE(absl::IsUnavailable((*late)->status()));
}

TEST_F(CoordinatorAdminTest, WhoeverAskedForADrainIsAnsweredAlsoWhenTheJobEndsFirst) {
  SettingsCluster cluster("steps: 1", &disk_);
  const auto workers = cluster.EnterAll(1);
  const DrainAnswer answer = AskDrain(&cluster);
  cluster.Steps(workers, 1);
  ASSERT_TRUE(cluster.Leave(workers[0]).ok());
  EXPECT_EQ(cluster.Phase(), "finished");
  ASSERT_TRUE(answer->has_value() && (*answer)->ok());
  EXPECT_EQ((**answer)->version(), 1u);
  const DrainAnswer after = AskDrain(&cluster);  // --when_done=serve
  EXPECT_TRUE(after->has_value() && (*after)->ok());

  CrashingFileSystem other_disk;
  SettingsCluster failing("steps: 5", &other_disk);
  const auto others = failing.EnterAll(1);
  const DrainAnswer refused = AskDrain(&failing);
  ASSERT_TRUE(failing.Send(others[0], MakeAbstention(*failing.job, 1, failing.chain_hash())).ok());
  EXPECT_EQ(failing.Phase(), "failed");
  EXPECT_FALSE(failing.coordinator->accepting());
  ASSERT_TRUE(refused->has_value());
  EXPECT_FALSE((*refused)->ok());
}

TEST_F(CoordinatorAdminTest, StopEndsTheJobWithTheOpenStepAndTheLogSaysSo) {
  SettingsCluster cluster("steps: 1000", &disk_);
  const SetAnswer early = Stop(&cluster);
  ASSERT_TRUE(early->has_value());
  EXPECT_TRUE(absl::IsFailedPrecondition((*early)->status()));
  const auto workers = cluster.EnterAll(1);
  cluster.Steps(workers, 3);
  const SetAnswer answer = Stop(&cluster);
  EXPECT_FALSE(answer->has_value());
  cluster.Steps(workers, 1);
  ASSERT_TRUE(answer->has_value() && (*answer)->ok()) << (*answer)->status();
  EXPECT_EQ((**answer)->job().steps(), 4u);
  EXPECT_TRUE(cluster.header(4).finished());
  EXPECT_EQ(cluster.SettingsAt(4), "steps: 4");
  EXPECT_EQ(cluster.Phase(), "finishing");
  const SetAnswer late = Stop(&cluster);
  ASSERT_TRUE(late->has_value());
  EXPECT_TRUE(absl::IsFailedPrecondition((*late)->status()));
}

TEST_F(CoordinatorAdminTest, TheLearningRateChangesWithTheNextStepAndIsBackAfterARestart) {
  SettingsCluster cluster("steps: 100 schedule: 'exponential:gamma=0.5,every=4'", &disk_);
  auto workers = cluster.EnterAll(1);
  cluster.Steps(workers, 2);
  EXPECT_EQ(cluster.header(2).next_learning_rate(), 0.5f);
  const SetAnswer answer = cluster.Set("learning_rate: 0.125");
  cluster.Steps(workers, 1);
  ASSERT_TRUE(answer->has_value() && (*answer)->ok());
  EXPECT_EQ(cluster.header(3).next_learning_rate(), 0.125f);
  EXPECT_EQ(cluster.Config().learning_rate(), 0.125);
  const std::string state = cluster.coordinator->EncodeState();
  ASSERT_TRUE(cluster.Restart("steps: 100 schedule: 'exponential:gamma=0.5,every=4'", &disk_).ok());
  EXPECT_EQ(cluster.coordinator->EncodeState(), state);
  cluster.Greet(&workers[0]);
  cluster.Steps(workers, 2);
  EXPECT_EQ(cluster.header(5).next_learning_rate(), 0.0625f);  // the schedule goes on
  const SetAnswer back = cluster.Set("learning_rate: 0");      // the optimizer's own
  cluster.Steps(workers, 1);
  ASSERT_TRUE(back->has_value() && (*back)->ok());
  EXPECT_EQ(cluster.header(6).next_learning_rate(), 0.25f);
  const SetAnswer bad = cluster.Set("learning_rate: -1");
  ASSERT_TRUE(bad->has_value());
  EXPECT_TRUE(absl::IsInvalidArgument((*bad)->status()));
}

TEST_F(CoordinatorAdminTest, RoundsAreTimedAndWorkersRatedByTheClock) {
  SettingsCluster cluster("steps: 100 membership { workers: 2 }", &disk_);
  const auto workers = cluster.EnterAll(2);
  const std::vector<float> ones(8, 1.0f);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(cluster.Push(workers[0], ones).ok());
    cluster.clock.Advance(absl::Seconds(0.25));
    ASSERT_TRUE(cluster.Push(workers[1], ones).ok());
  }
  const v1::GetStatusResponse status = cluster.Status();
  EXPECT_EQ(status.round_times().rounds(), 5u);
  EXPECT_DOUBLE_EQ(status.round_times().waiting_seconds(), 1.25);
  EXPECT_EQ(cluster.counters.round.values().count, 5u);
  EXPECT_DOUBLE_EQ(cluster.counters.round.values().seconds, 1.25);
  EXPECT_EQ(cluster.counters.apply.values().count, 5u);
  EXPECT_NEAR(cluster.StatusOf("w1").steps_per_second(), 4, 0.01);
  EXPECT_EQ(cluster.StatusOf("w1").version(), 4u);  // its newest step is the fifth
  EXPECT_EQ(cluster.StatusOf("w1").lag(), 1u);
  ASSERT_TRUE(cluster.Push(workers[0], ones).ok());
  EXPECT_EQ(cluster.StatusOf("w0").lag(), 0u);
  const std::vector<RunPoint> points = cluster.coordinator->run().PointsAfter(0);
  ASSERT_EQ(points.size(), 5u);
  EXPECT_FLOAT_EQ(points[2].waiting, 0.25f);
  EXPECT_EQ(points[2].seconds, 0.75);
  cluster.clock.Advance(absl::Seconds(7));
  EXPECT_DOUBLE_EQ(cluster.Status().seconds_since_update(), 7);
}

TEST_F(CoordinatorAdminTest, RefusalsAreCountedByReasonAndWorker) {
  SettingsCluster cluster("steps: 100 membership { workers: 2 }", &disk_);
  const auto workers = cluster.EnterAll(2);
  v1::Gradient beyond = cluster.Payload(std::vector<float>(8, 1.0f)).front();
  beyond.set_step(7);
  EXPECT_FALSE(cluster.Send(workers[0], beyond).ok());
  v1::Gradient bad = cluster.Payload(std::vector<float>(8, 1.0f)).front();
  bad.mutable_blocks(0)->mutable_payload()->pop_back();
  EXPECT_FALSE(cluster.Send(workers[1], bad).ok());
  const v1::GetStatusResponse status = cluster.Status();
  EXPECT_EQ(status.payloads_refused(), 2u);
  ASSERT_EQ(status.refused_by_reason_size(), 2);
  EXPECT_EQ(status.refused_by_reason(0).reason(), "step");
  EXPECT_EQ(status.refused_by_reason(1).reason(), "payload");
  EXPECT_EQ(cluster.StatusOf("w0").payloads_refused(), 1u);
  EXPECT_EQ(cluster.StatusOf("w1").payloads_refused(), 1u);
  EXPECT_EQ(cluster.counters.workers_joined.value(), 2u);
  EXPECT_EQ(cluster.counters.workers_lost.value(), 1u);  // the bad payload's
}

}  // namespace
}  // namespace gradwire
