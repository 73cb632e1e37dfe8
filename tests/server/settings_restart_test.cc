// SPDX-License-Identifier: Apache-2.0
// Settings over restarts: replay gives what was set, the file gives what it changes, and no more.
#include <gmock/gmock.h>

#include <cmath>

#include "server/history.h"
#include "tests/server/settings_fixture.h"

namespace gradwire {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class SettingsRestartTest : public testing::Test {
 protected:
  v1::JobConfig FileSeen() {
    const auto text = disk_.Read("/state/job.textproto", size_t{1} << 20);
    EXPECT_TRUE(text.ok()) << text.status();
    return *ParseJobText(*text);
  }

  CrashingFileSystem disk_;  // outlives the cluster
};

TEST_F(SettingsRestartTest, WhatWasSetHoldsWhenTheOldFileIsStartedAgain) {
  const std::string file = "steps: 10 snapshot_every: 4";
  SettingsCluster cluster(file, &disk_);
  auto workers = cluster.EnterAll(1);
  cluster.Steps(workers, 2);
  cluster.Set("steps: 20 lease_seconds: 3");
  for (int i = 0; i < 4; ++i) {  // before and after a snapshot has it
    cluster.Steps(workers, 1);
    const uint64_t version = cluster.version();
    if (version == 4) WaitForSnapshot(cluster.coordinator->snapshots(), 4);
    const std::string state = cluster.coordinator->EncodeState();
    ASSERT_TRUE(cluster.Restart(file, &disk_).ok());
    EXPECT_EQ(cluster.version(), version);
    EXPECT_EQ(cluster.coordinator->EncodeState(), state);
    EXPECT_EQ(cluster.Config().steps(), 20u);
    EXPECT_EQ(cluster.Config().membership().lease_seconds(), 3);
    EXPECT_EQ(FileSeen().steps(), 10u);
    cluster.Greet(&workers[0]);
  }
  EXPECT_TRUE(cluster.header(3).has_settings());
  EXPECT_FALSE(cluster.header(4).has_settings() || cluster.header(5).has_settings());
  cluster.Steps(workers, 14);
  EXPECT_EQ(cluster.version(), 20u);
  EXPECT_EQ(cluster.Phase(), "finishing");
}

TEST_F(SettingsRestartTest, AChangedFileBecomesARecordAndIsNotedWhenThatIsCommitted) {
  const std::string membership = " membership { workers: 1 lease_seconds: 20 }";
  SettingsCluster cluster("steps: 10" + membership, &disk_);
  auto workers = cluster.EnterAll(1);
  cluster.Steps(workers, 2);
  cluster.Set("snapshot_every: 50");
  cluster.Steps(workers, 1);
  const std::string changed = "steps: 30" + membership;
  for (int i = 0; i < 2; ++i) {  // as often as it is killed before the record
    ASSERT_TRUE(cluster.Restart(changed, &disk_).ok());
    cluster.coordinator->Tick();
    EXPECT_EQ(FileSeen().steps(), 10u);
    EXPECT_EQ(cluster.Config().steps(), 10u);
  }
  cluster.Greet(&workers[0]);
  cluster.Steps(workers, 1);
  EXPECT_EQ(cluster.SettingsAt(4), "steps: 30");
  EXPECT_EQ(FileSeen().steps(), 30u);
  EXPECT_EQ(cluster.Config().snapshot_every(), 50u);  // not in the file's change
  // Set on top, and started with the same file once more.
  cluster.Set("steps: 40");
  cluster.Steps(workers, 1);
  ASSERT_TRUE(cluster.Restart(changed, &disk_).ok());
  cluster.Greet(&workers[0]);
  cluster.Steps(workers, 1);
  EXPECT_FALSE(cluster.header(6).has_settings());
  EXPECT_EQ(cluster.Config().steps(), 40u);
}

TEST_F(SettingsRestartTest, AServerThatDiedBetweenRecordAndNoteMakesNoSecondRecord) {
  SettingsCluster cluster("steps: 10", &disk_);
  auto workers = cluster.EnterAll(1);
  cluster.Set("steps: 30");  // as the file's change would be
  cluster.Steps(workers, 1);
  ASSERT_TRUE(cluster.Restart("steps: 30", &disk_).ok());
  EXPECT_EQ(FileSeen().steps(), 30u);
  cluster.Greet(&workers[0]);
  cluster.Steps(workers, 1);
  EXPECT_FALSE(cluster.header(2).has_settings());
}

TEST_F(SettingsRestartTest, BeforeRecordZeroTheFileOfTheLastStartCounts) {
  SettingsCluster cluster("steps: 10 schedule: 'linear_warmup:5'", &disk_);
  const std::string changed = "steps: 30 schedule: 'linear_warmup:4'";
  ASSERT_TRUE(cluster.Restart(changed, &disk_).ok());
  EXPECT_EQ(FileSeen().steps(), 10u);
  auto workers = cluster.EnterAll(1);
  EXPECT_EQ(FileSeen().steps(), 30u);
  EXPECT_EQ(cluster.header(0).next_learning_rate(), 0.125f);
  EXPECT_EQ(cluster.header(0).settings().steps(), 30u);
  ASSERT_TRUE(cluster.Restart(changed, &disk_).ok());
  EXPECT_EQ(cluster.version(), 0u);
}

TEST_F(SettingsRestartTest, AFileWithAnotherIdentityIsRefusedByName) {
  SettingsCluster cluster("steps: 10", &disk_);
  cluster.EnterAll(1);
  const absl::Status refused = cluster.Restart("steps: 30 codec: 'bf16'", &disk_);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("(modified: codec: \"identity\" -> \"bf16\")"));
  EXPECT_EQ(FileSeen().steps(), 10u);
  ASSERT_TRUE(cluster.Restart("steps: 10", &disk_).ok());
}

TEST_F(SettingsRestartTest, AChangeThatComesTooLateIsRefusedWithItsReason) {
  SettingsCluster cluster("steps: 10", &disk_);
  auto workers = cluster.EnterAll(1);
  cluster.Steps(workers, 7);
  const absl::Status below = cluster.Restart("steps: 7", &disk_);
  EXPECT_EQ(below.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      std::string(below.message()),
      AllOf(HasSubstr("(steps=7), but "), HasSubstr("steps: 7 is below 8, the step that is open")));
  ASSERT_TRUE(cluster.Restart("steps: 8", &disk_).ok());
  cluster.Greet(&workers[0]);
  cluster.Steps(workers, 1);
  EXPECT_EQ(cluster.Phase(), "finishing");
  const absl::Status ended = cluster.Restart("steps: 100", &disk_);
  EXPECT_EQ(ended.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(ended.message()), HasSubstr("the job has ended, at version 8"));
  ASSERT_TRUE(cluster.Restart("steps: 8", &disk_).ok());
}

// The file's change is good for the file, but not for what was set since.
TEST_F(SettingsRestartTest, AChangeThatDoesNotGoWithWhatWasSetIsRefused) {
  const std::string quorum = "steps: 10 consistency: QUORUM membership { workers: 4 } quorum { ";
  SettingsCluster cluster(quorum + "workers: 3 min_workers: 1 }", &disk_);
  const auto workers = cluster.EnterAll(4);
  cluster.Set("quorum_workers: 2");
  cluster.Steps({workers[0], workers[1]}, 1);
  const absl::Status refused = cluster.Restart(quorum + "workers: 3 min_workers: 3 }", &disk_);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("(quorum.min_workers=3), but "),
                    HasSubstr("quorum.min_workers: 3 is not in [1, 2]")));
}

TEST_F(SettingsRestartTest, ASetScheduleRulesTheLearningRateAlsoAfterARestart) {
  const std::string file = "steps: 100 snapshot_every: 6 schedule: 'exponential:gamma=0.5'";
  SettingsCluster cluster(file, &disk_);
  auto workers = cluster.EnterAll(1);
  std::vector<double> expected = {0};
  const auto step = [&](double next) {  // of the header that is made now
    cluster.Steps(workers, 1);
    expected.push_back(next);
    if (cluster.version() % 6 == 0) {
      WaitForSnapshot(cluster.coordinator->snapshots(), cluster.version());
    }
  };
  // Header v opens step v + 1; a schedule counts steps from 1, not from when it was set.
  const double first = cluster.header(0).next_learning_rate();
  for (uint64_t v = 1; v <= 3; ++v) step(first * std::pow(0.5, static_cast<double>(v)));
  cluster.Set("schedule: 'linear_warmup:16' schedule: 'step_decay:at=10,factor=0.25'");
  const auto warmup = [](uint64_t v) {
    return 0.5 * static_cast<double>(v + 1) / 16 * (v + 1 > 10 ? 0.25 : 1);
  };
  for (uint64_t v = 4; v <= 12; ++v) step(warmup(v));
  ASSERT_TRUE(cluster.Restart(file, &disk_).ok());
  cluster.Greet(&workers[0]);
  for (uint64_t v = 13; v <= 14; ++v) step(warmup(v));
  ASSERT_TRUE(cluster.Restart("steps: 100 snapshot_every: 6 schedule: 'constant'", &disk_).ok());
  cluster.Greet(&workers[0]);
  for (uint64_t v = 15; v <= 20; ++v) step(0.5);
  for (uint64_t v = 1; v < cluster.version(); ++v) {
    EXPECT_EQ(cluster.header(v).next_learning_rate(), static_cast<float>(expected[v])) << v;
    EXPECT_EQ(cluster.header(v + 1).learning_rate(), static_cast<float>(expected[v])) << v;
  }
  EXPECT_EQ(cluster.SettingsAt(15), "schedule: \"constant\"");
}

TEST_F(SettingsRestartTest, AnotherScheduleRemembersNothing) {
  const std::string plateau = "schedule: 'plateau:factor=0.5,metric=loss'";
  SettingsCluster cluster("steps: 100 trainer { eval_every: 1 } " + plateau, &disk_);
  auto workers = cluster.EnterAll(1);
  const auto rate = [&](double loss) {
    cluster.StepWithLoss(workers[0], loss);
    return cluster.header(cluster.version()).next_learning_rate();
  };
  EXPECT_EQ(rate(1), 0.5f);
  EXPECT_EQ(rate(2), 0.25f);
  EXPECT_EQ(rate(2), 0.125f);
  cluster.Set("steps: 90 " + plateau);  // the same schedule: it goes on
  EXPECT_EQ(rate(2), 0.0625f);
  cluster.Set("schedule: 'plateau:factor=0.1,metric=loss'");
  EXPECT_EQ(rate(3), 0.5f);  // not the first of the new one: it came with the change
  ASSERT_TRUE(cluster.Restart("steps: 100 trainer { eval_every: 1 } " + plateau, &disk_).ok());
  cluster.Greet(&workers[0]);
  EXPECT_EQ(rate(4), 0.5f);  // the best so far
  EXPECT_EQ(rate(5), 0.05f);
}

// As ServerStateTest, with settings on the log.
TEST_F(SettingsRestartTest, ReplayFromEverySnapshotGivesTheLivingState) {
  const std::string file = "steps: 100 snapshot_every: 3 trainer { eval_every: 1 }";
  const char* sets[] = {"",
                        "schedule: 'plateau:factor=0.5,metric=loss'",
                        "",
                        "steps: 80",
                        "target { metric: 'loss' value: -1 }",
                        "schedule: 'linear_warmup:30' schedule: 'plateau:factor=0.1,metric=loss'",
                        "lease_seconds: 7 start_timeout_seconds: 60 step_timeout_seconds: 30",
                        "target {}",
                        "",
                        "steps: 70 schedule: 'constant'"};
  std::vector<std::string> living;
  SettingsCluster cluster(file, &disk_);
  auto workers = cluster.EnterAll(1);
  living.push_back(cluster.coordinator->EncodeState());
  for (const char* set : sets) {
    cluster.Set(set);
    cluster.StepWithLoss(workers[0], 1);
    living.push_back(cluster.coordinator->EncodeState());
    const uint64_t version = cluster.version();
    if (version % 3 == 0) WaitForSnapshot(cluster.coordinator->snapshots(), version);
  }
  std::vector<uint64_t> starts = cluster.coordinator->snapshots().versions();
  ASSERT_EQ(starts.size(), 3u);
  starts.insert(starts.begin(), 0);
  // The job file of the replay has other operational fields: the log has its own.
  const auto other = MakeTestJob(
      SettingsJob("steps: 5 snapshot_every: 2 trainer { eval_every: 1 } schedule: 'cosine:steps=9' "
                  "target { metric: 'accuracy' value: 1 } membership { lease_seconds: 2 }"));
  for (const uint64_t start : starts) {
    SCOPED_TRACE(start);
    Replica replica(other);
    ServerState state(other);
    uint64_t next = 0;
    if (start > 0) {
      auto loaded = cluster.coordinator->snapshots().Load(start);
      ASSERT_TRUE(loaded.ok()) << loaded.status();
      ASSERT_TRUE(state.Load(loaded->server_state, start, loaded->contents.chain_hash).ok());
      ASSERT_TRUE(replica.Load(std::move(loaded->contents)).ok());
      next = start + 1;
    }
    for (; next <= cluster.version(); ++next) {
      const auto record = cluster.coordinator->log().Find(next);
      const absl::Status replayed = state.Replay(*record, replica);
      ASSERT_TRUE(replayed.ok()) << replayed;
      state.Applying(replica);
      ASSERT_TRUE(replica.Apply(*record).ok());
      state.Applied(replica);
      ASSERT_EQ(state.Encode(replica), living[next]) << "version " << next;
    }
    EXPECT_EQ(state.config().steps(), 70u);
  }
}

TEST_F(SettingsRestartTest, SettingsThatAreNoneStopTheReplay) {
  SettingsCluster cluster("steps: 10", &disk_);
  cluster.EnterAll(1);
  v1::UpdatePart part;
  ASSERT_TRUE(part.ParseFromString(cluster.coordinator->log().Find(0)->parts.back()));
  part.mutable_header()->mutable_settings()->set_snapshot_every(uint64_t{1} << 60);
  ServerState state(cluster.job);
  const absl::Status status =
      state.Replay(*MakeRecord(0, {part.SerializeAsString()}), Replica(cluster.job));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("record 0: its settings: snapshot_every: "));
}

}  // namespace
}  // namespace gradwire
