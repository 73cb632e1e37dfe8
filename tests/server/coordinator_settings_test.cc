// SPDX-License-Identifier: Apache-2.0
// Settings that change while the job runs: when they count, what their record says, who is told.
#include <gmock/gmock.h>

#include "tests/server/settings_fixture.h"

namespace gradwire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string MessageOf(const SetAnswer& answer) {
  return answer->has_value() ? std::string((*answer)->status().message()) : "not answered";
}

class CoordinatorSettingsTest : public testing::Test {
 protected:
  CrashingFileSystem disk_;  // outlives the cluster
};

TEST_F(CoordinatorSettingsTest, AChangeIsInTheNextRecordAndAnsweredWithItsVersion) {
  SettingsCluster cluster("steps: 10", &disk_);
  const auto workers = cluster.EnterAll(1);
  cluster.Steps(workers, 2);
  const SetAnswer answer = cluster.Set("steps: 20 snapshot_every: 1000");
  EXPECT_FALSE(answer->has_value());
  EXPECT_EQ(cluster.Config().steps(), 10u);  // it is not on the log yet
  cluster.Steps(workers, 1);
  ASSERT_TRUE(answer->has_value() && (*answer)->ok()) << MessageOf(answer);
  EXPECT_EQ((**answer)->version(), 3u);
  EXPECT_EQ((**answer)->job().steps(), 20u);
  EXPECT_FALSE((**answer)->unchanged());
  EXPECT_EQ(cluster.SettingsAt(3), "steps: 20");
  EXPECT_EQ(cluster.Config().steps(), 20u);
  EXPECT_EQ(cluster.Join("other", 1)->job().steps(), 20u);
  cluster.Steps(workers, 17);
  EXPECT_EQ(cluster.version(), 20u);
  EXPECT_EQ(cluster.Phase(), "finishing");
  for (uint64_t v = 1; v <= 20; ++v) EXPECT_EQ(cluster.header(v).has_settings(), v == 3) << v;
}

TEST_F(CoordinatorSettingsTest, WhatIsSoAlreadyMakesNoRecord) {
  SettingsCluster cluster("steps: 10", &disk_);
  const auto workers = cluster.EnterAll(1);
  cluster.Steps(workers, 2);
  for (const char* settings : {"steps: 10 schedule: 'constant' target {}", ""}) {
    const SetAnswer answer = cluster.Set(settings);
    ASSERT_TRUE(answer->has_value() && (*answer)->ok()) << MessageOf(answer);
    EXPECT_TRUE((**answer)->unchanged());
    EXPECT_EQ((**answer)->version(), 2u);
  }
  // Who asks for what is planned already waits for it like the first.
  const SetAnswer first = cluster.Set("steps: 30");
  const SetAnswer second = cluster.Set("steps: 30");
  EXPECT_FALSE(first->has_value() || second->has_value());
  cluster.Steps(workers, 1);
  ASSERT_TRUE(second->has_value() && (*second)->ok());
  EXPECT_EQ((**first)->version(), 3u);
  EXPECT_EQ((**second)->version(), 3u);
  // And what is taken back before it is on the log leaves no trace.
  cluster.Set("steps: 40 snapshot_every: 5");
  const SetAnswer back = cluster.Set("steps: 30 snapshot_every: 0");
  cluster.Steps(workers, 1);
  EXPECT_FALSE(cluster.header(4).has_settings());
  ASSERT_TRUE(back->has_value() && (*back)->ok());
  EXPECT_EQ((**back)->version(), 4u);
}

TEST_F(CoordinatorSettingsTest, StepsAreAtLeastTheOpenOne) {
  SettingsCluster cluster("steps: 5", &disk_);
  const auto workers = cluster.EnterAll(1);
  cluster.Steps(workers, 4);
  const SetAnswer refused = cluster.Set("steps: 4");
  EXPECT_EQ((*refused)->status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MessageOf(refused),
            "steps: 4 is below 5, the step that is open: at least that is needed");
  cluster.Set("steps: 50");  // while the last step is open
  cluster.Steps(workers, 1);
  EXPECT_EQ(cluster.Phase(), "training");
  EXPECT_FALSE(cluster.header(5).finished());
  EXPECT_EQ(cluster.header(5).members_size(), 1);
  const SetAnswer lowered = cluster.Set("steps: 6");
  cluster.Steps(workers, 1);
  EXPECT_TRUE(cluster.header(6).finished());
  EXPECT_EQ(cluster.SettingsAt(6), "steps: 6");
  EXPECT_EQ((**lowered)->version(), 6u);
  EXPECT_EQ(cluster.coordinator->WaitForEnd(absl::ZeroDuration()).steps, 6u);
  const SetAnswer late = cluster.Set("steps: 60");
  EXPECT_EQ((*late)->status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(MessageOf(late), "the job has ended, at version 6: nothing can be set");
}

TEST_F(CoordinatorSettingsTest, BadValuesAreRefusedAndNothingChanges) {
  SettingsCluster cluster("steps: 5", &disk_);
  const auto workers = cluster.EnterAll(1);
  const SetAnswer refused = cluster.Set("snapshot_every: 7 min_workers: 2");
  EXPECT_EQ(MessageOf(refused), "membership.min_workers: 2 is not in [1, 1]");
  cluster.Steps(workers, 1);
  EXPECT_FALSE(cluster.header(1).has_settings());
}

TEST_F(CoordinatorSettingsTest, FewerWorkersAreEnoughForAStepThatWaitsForMore) {
  SettingsCluster cluster("steps: 50 membership { workers: 3 min_workers: 3 }", &disk_);
  const auto workers = cluster.EnterAll(3);
  cluster.Steps(workers, 2);
  ASSERT_TRUE(cluster.Leave(workers[2]).ok());
  const std::vector<FakeWorker> left = {workers[0], workers[1]};
  cluster.Steps(left, 1);
  EXPECT_EQ(cluster.Phase(), "below min_workers");
  const SetAnswer answer = cluster.Set("min_workers: 2");
  ASSERT_TRUE(answer->has_value() && (*answer)->ok()) << MessageOf(answer);
  EXPECT_EQ((**answer)->version(), 3u);
  EXPECT_EQ(cluster.Phase(), "training");
  cluster.Steps(left, 1);
  EXPECT_EQ(cluster.version(), 4u);
  // Raised again: the next header waits for a third.
  cluster.Set("min_workers: 3");
  cluster.Steps(left, 1);
  EXPECT_EQ(cluster.version(), 4u);
  EXPECT_EQ(cluster.Phase(), "below min_workers");
  cluster.Enter("w2", 2);
  EXPECT_EQ(cluster.version(), 5u);
}

TEST_F(CoordinatorSettingsTest, ASmallerQuorumClosesTheStepThatWaits) {
  SettingsCluster cluster(
      "steps: 50 consistency: QUORUM quorum { workers: 3 min_workers: 1 deadline_seconds: 3600 } "
      "membership { workers: 3 }",
      &disk_);
  const auto workers = cluster.EnterAll(3);
  cluster.Steps({workers[0], workers[1]}, 1);
  EXPECT_EQ(cluster.version(), 0u);
  const SetAnswer answer = cluster.Set("quorum_workers: 2");
  ASSERT_TRUE(answer->has_value() && (*answer)->ok()) << MessageOf(answer);
  EXPECT_EQ(cluster.version(), 1u);
  EXPECT_EQ(cluster.header(1).used_size(), 2);
  ASSERT_TRUE(cluster.Push(workers[2], std::vector<float>(8, 1.0f)).ok());
  cluster.Set("quorum_deadline_seconds: 0.5");
  cluster.clock.Advance(absl::Milliseconds(499));
  cluster.coordinator->Tick();
  EXPECT_EQ(cluster.version(), 1u);
  cluster.clock.Advance(absl::Milliseconds(1));
  cluster.coordinator->Tick();
  EXPECT_EQ(cluster.version(), 2u);
}

// A worker beats every third of the lease that it knows: a shorter one counts when it was told.
TEST_F(CoordinatorSettingsTest, AShorterLeaseCountsForAWorkerOnceItWasTold) {
  SettingsCluster cluster("steps: 50 membership { workers: 2 lease_seconds: 9 }", &disk_);
  const auto workers = cluster.EnterAll(2);
  cluster.Set("lease_seconds: 1");
  cluster.Pass(absl::Seconds(3), {});
  EXPECT_EQ(cluster.StatusOf("w0").state(), "member");
  cluster.Heartbeat(workers[0]);
  EXPECT_EQ(cluster.Join("w2", 1)->lease_seconds(), 1);
  cluster.Pass(absl::Seconds(2), {});
  EXPECT_EQ(cluster.StatusOf("w0").state(), "lost");
  EXPECT_EQ(cluster.StatusOf("w1").state(), "member");
  cluster.Set("lease_seconds: 30");  // a longer one counts at once
  cluster.Pass(absl::Seconds(20), {});
  EXPECT_EQ(cluster.StatusOf("w1").state(), "member");
}

TEST_F(CoordinatorSettingsTest, ALostFixedMemberIsWaitedForLongerWhenItIsSaidInTime) {
  SettingsCluster cluster("steps: 50 membership { workers: 2 mode: FIXED lost_timeout_seconds: 5 }",
                          &disk_);
  const auto workers = cluster.EnterAll(2);
  cluster.BreakStream(workers[1]);
  cluster.Pass(absl::Seconds(4), {workers[0]});
  const SetAnswer answer = cluster.Set("lost_timeout_seconds: 60");
  cluster.Pass(absl::Seconds(40), {workers[0]});
  EXPECT_EQ(cluster.Phase(), "training");
  EXPECT_FALSE(answer->has_value());
  cluster.Pass(absl::Seconds(30), {workers[0]});
  EXPECT_EQ(cluster.Phase(), "failed");
  EXPECT_THAT(MessageOf(answer), HasSubstr("did not return within 60 s"));
  EXPECT_THAT(MessageOf(cluster.Set("steps: 70")), HasSubstr("the job has failed"));
}

TEST_F(CoordinatorSettingsTest, BeforeStepOneItIsInRecordZeroAndTheStartIsWaitedForLonger) {
  SettingsCluster cluster(
      "steps: 50 schedule: 'step_decay:at=1,factor=0.1' "
      "membership { workers: 1 start_timeout_seconds: 5 }",
      &disk_);
  const SetAnswer answer = cluster.Set("start_timeout_seconds: 100 schedule: 'linear_warmup:4'");
  cluster.Pass(absl::Seconds(50), {});
  EXPECT_EQ(cluster.Phase(), "waiting for workers");
  EXPECT_FALSE(answer->has_value());
  cluster.EnterAll(1);
  ASSERT_TRUE(answer->has_value() && (*answer)->ok()) << MessageOf(answer);
  EXPECT_EQ((**answer)->version(), 0u);
  EXPECT_EQ((**answer)->job().membership().start_timeout_seconds(), 100);
  EXPECT_EQ(cluster.header(0).next_learning_rate(), 0.125f);
}

// So the log says of itself what the job began with, whatever becomes of the job file.
TEST_F(CoordinatorSettingsTest, RecordZeroHasAllSettings) {
  SettingsCluster cluster("steps: 50 membership { workers: 1 lease_seconds: 4 }", &disk_);
  cluster.EnterAll(1);
  EXPECT_EQ(cluster.SettingsAt(0),
            "steps: 50 target { } schedule: \"constant\" snapshot_every: 1000 min_workers: 1 "
            "lease_seconds: 4 start_timeout_seconds: 600 lost_timeout_seconds: 0 "
            "step_timeout_seconds: 0 learning_rate: 0");
}

TEST_F(CoordinatorSettingsTest, SnapshotsComeAsOftenAsWasSet) {
  SettingsCluster cluster("steps: 50", &disk_);
  const auto workers = cluster.EnterAll(1);
  cluster.Steps(workers, 3);
  cluster.Set("snapshot_every: 4");
  for (uint64_t v = 4; v <= 10; ++v) {
    cluster.Steps(workers, 1);
    if (v % 4 == 0) WaitForSnapshot(cluster.coordinator->snapshots(), v);
  }
  EXPECT_THAT(cluster.coordinator->snapshots().versions(), ElementsAre(4u, 8u));
  EXPECT_THAT(std::string(cluster.coordinator->SnapshotAt(3).status().message()),
              HasSubstr("the next is made at version 12"));
}

TEST_F(CoordinatorSettingsTest, ATargetThatWasSetEndsTheJobAndOneThatWasClearedDoesNot) {
  SettingsCluster cluster("steps: 50 trainer { eval_every: 1 } target { metric: 'loss' value: 2 }",
                          &disk_);
  const auto workers = cluster.EnterAll(1);
  cluster.Set("target {}");
  cluster.StepWithLoss(workers[0], 1);
  EXPECT_EQ(cluster.SettingsAt(1), "target { }");
  EXPECT_FALSE(cluster.Config().has_target());
  cluster.StepWithLoss(workers[0], 1);
  EXPECT_EQ(cluster.Phase(), "training");
  cluster.Set("target { metric: 'loss' value: 1 }");
  cluster.StepWithLoss(workers[0], 1);
  EXPECT_TRUE(cluster.header(3).finished());
}

TEST_F(CoordinatorSettingsTest, ACallThatIsNotAnsweredInTimeSaysWhatBecomesOfTheChange) {
  SettingsCluster cluster("steps: 50", &disk_);
  const auto workers = cluster.EnterAll(1);
  const SetAnswer answer = cluster.Set("steps: 60", absl::Seconds(2));
  cluster.Pass(absl::Milliseconds(1900), workers);
  EXPECT_FALSE(answer->has_value());
  cluster.Pass(absl::Milliseconds(100), workers);
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(MessageOf(answer), HasSubstr("the record of version 1, which waits (training)"));
  cluster.Steps(workers, 1);
  EXPECT_EQ(cluster.SettingsAt(1), "steps: 60");
}

TEST_F(CoordinatorSettingsTest, WhoWaitsIsToldWhenTheServerGoes) {
  SettingsCluster cluster("steps: 50", &disk_);
  cluster.EnterAll(1);
  const SetAnswer answer = cluster.Set("steps: 60");
  ASSERT_TRUE(cluster.coordinator->Drain(absl::ZeroDuration()).ok());
  EXPECT_EQ((*answer)->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(MessageOf(answer), HasSubstr("the change is not on the log"));
  EXPECT_EQ((*cluster.Set("steps: 70"))->status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(CoordinatorSettingsTest, AFullDiskKeepsTheAnswerBackAndAnotherChangeForTheNextRecord) {
  SettingsCluster cluster("steps: 50", &disk_);
  const auto workers = cluster.EnterAll(1);
  const SetAnswer first = cluster.Set("steps: 60");
  disk_.SetSpace(5);
  cluster.Steps(workers, 1);
  EXPECT_THAT(cluster.Phase(), HasSubstr("disk is full"));
  const SetAnswer same = cluster.Set("steps: 60");
  const SetAnswer second = cluster.Set("snapshot_every: 9");
  EXPECT_EQ(MessageOf(cluster.Set("steps: 1")),
            "steps: 1 is below 2, the step that is open: at least that is needed");
  cluster.coordinator->Tick();
  EXPECT_FALSE(first->has_value() || same->has_value() || second->has_value());
  disk_.SetSpace(std::nullopt);
  cluster.coordinator->Tick();
  ASSERT_TRUE(first->has_value() && same->has_value());
  EXPECT_EQ((**first)->version(), 1u);
  EXPECT_EQ((**same)->version(), 1u);
  EXPECT_FALSE(second->has_value());
  cluster.Steps(workers, 1);
  EXPECT_EQ(cluster.SettingsAt(1), "steps: 60");
  EXPECT_EQ(cluster.SettingsAt(2), "snapshot_every: 9");
  EXPECT_EQ((**second)->version(), 2u);
}

TEST_F(CoordinatorSettingsTest, SoManyMayWaitAndNoMore) {
  SettingsCluster cluster("steps: 50", &disk_);
  cluster.EnterAll(1);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_FALSE(cluster.Set("steps: 60")->has_value());
  }
  EXPECT_EQ((*cluster.Set("steps: 70"))->status().code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(cluster.coordinator->Drain(absl::ZeroDuration()).ok());
}

}  // namespace
}  // namespace gradwire
