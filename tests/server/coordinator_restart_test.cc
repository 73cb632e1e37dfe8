// SPDX-License-Identifier: Apache-2.0
// The server is killed at any moment and started again: the members come back and the step goes
// on; and the disk that is full for a while.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/common/replica/crashing_file_system.h"
#include "tests/server/real_cluster.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

std::string JobText(absl::string_view rest) {
  return absl::StrCat("model { tensors { tensor { name: 'w' shape: 300 } } } steps: 1000 ", rest);
}

CoordinatorOptions On(CrashingFileSystem* disk) {
  CoordinatorOptions options;
  options.history.files = disk;
  options.history.state_dir = "/state";
  return options;
}

std::vector<float> Gradient(size_t worker, uint64_t step) {
  return NormalGradient(300, worker, step);
}

// Kills the server of `cluster` and starts it on what is on its disk.
void Restart(RealCluster* cluster, CrashingFileSystem* disk) {
  cluster->cluster.coordinator.reset();
  auto again = Coordinator::Create(On(disk), cluster->cluster.job, &cluster->cluster.clock,
                                   &cluster->cluster.counters);
  ASSERT_TRUE(again.ok()) << again.status();
  cluster->cluster.coordinator = *std::move(again);
}

void Greet(RealCluster* cluster, size_t worker) {
  RealWorker& w = cluster->workers[worker];
  v1::Hello hello = w.at.who();
  hello.set_session(w.at.session);
  hello.mutable_at()->set_version(w.replica->version());
  hello.mutable_at()->set_chain_hash(std::string(AsView(w.replica->chain_hash())));
  w.at.stream = std::make_shared<FakeStream>();
  const auto next = cluster->cluster.coordinator->Hello(hello, w.at.stream);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(*next, w.replica->version() + 1);
}

TEST(CoordinatorRestartTest, TheOpenStepGoesOnWithTheSameMembersAndTheSameBits) {
  for (const char* mode : {"membership { workers: 3 }", "membership { workers: 3 mode: FIXED }"}) {
    SCOPED_TRACE(mode);
    const std::string job =
        JobText(absl::StrCat(mode, " codec: 'top_k:0.1' perturbation: 'gaussian:std=0.1'"));
    RealCluster reference(job, 3);
    reference.Steps(12, Gradient);
    CrashingFileSystem disk;
    RealCluster cluster(job, 3, On(&disk));
    for (uint64_t step = 1; step <= 12; ++step) {
      if (step % 3 != 0) {
        cluster.Step(Gradient);
        continue;
      }
      // Two payloads are in when it dies; the others, held by their workers, are sent again.
      cluster.Push(0, Gradient);
      cluster.Push(2, Gradient);
      Restart(&cluster, &disk);
      for (size_t w = 0; w < 3; ++w) Greet(&cluster, w);
      EXPECT_EQ(cluster.cluster.Phase(), "training");
      cluster.Resend(0);
      cluster.Resend(2);
      cluster.Push(1, Gradient);
      cluster.Follow();
    }
    EXPECT_EQ(cluster.replica().Hash(), reference.replica().Hash());
    EXPECT_EQ(cluster.replica().version(), 12u);
  }
}

TEST(CoordinatorRestartTest, MembersHaveOneLeaseToComeBack) {
  CrashingFileSystem disk;
  RealCluster cluster(JobText("membership { workers: 2 lease_seconds: 5 }"), 2, On(&disk));
  cluster.Steps(3, Gradient);
  Restart(&cluster, &disk);
  Greet(&cluster, 0);
  const auto pass = [&](int tenths) {
    for (int i = 0; i < tenths; ++i) {
      cluster.cluster.clock.Advance(absl::Milliseconds(100));
      cluster.cluster.Heartbeat(cluster.workers[0].at);
      cluster.cluster.coordinator->Tick();
    }
  };
  cluster.Push(0, Gradient);
  pass(45);
  EXPECT_EQ(cluster.cluster.version(), 3u);  // worker 1 is waited for
  pass(10);
  EXPECT_EQ(cluster.cluster.version(), 4u);
  EXPECT_EQ(cluster.cluster.StatusOf("w1").state(), "lost");
  // It returns with its rank and a new incarnation.
  const auto back = cluster.cluster.Join("w1", 77);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->rank(), 1u);
  EXPECT_EQ(back->incarnation(), 2u);
}

TEST(CoordinatorRestartTest, AnotherProcessWithTheSameIncarnationIsRefused) {
  CrashingFileSystem disk;
  RealCluster cluster(JobText("membership { workers: 1 }"), 1, On(&disk));
  cluster.Steps(2, Gradient);
  Restart(&cluster, &disk);
  Greet(&cluster, 0);
  v1::Hello other = cluster.workers[0].at.who();
  other.set_session(12345);
  EXPECT_EQ(
      cluster.cluster.coordinator->Hello(other, std::make_shared<FakeStream>()).status().code(),
      absl::StatusCode::kAborted);
}

TEST(CoordinatorRestartTest, AWorkerThatIsAheadOfAShorterLogIsToldToResync) {
  CrashingFileSystem disk;
  std::unique_ptr<CrashingFileSystem> before;  // outlives the cluster
  RealCluster cluster(JobText("membership { workers: 1 }"), 1, On(&disk));
  cluster.Steps(3, Gradient);
  before = disk.AfterKill();
  cluster.Steps(2, Gradient);
  Restart(&cluster, before.get());
  RealWorker& w = cluster.workers[0];
  v1::Hello hello = w.at.who();
  hello.mutable_at()->set_version(5);
  hello.mutable_at()->set_chain_hash(std::string(AsView(w.replica->chain_hash())));
  EXPECT_EQ(
      cluster.cluster.coordinator->Hello(hello, std::make_shared<FakeStream>()).status().code(),
      absl::StatusCode::kOutOfRange);
}

TEST(CoordinatorRestartTest, AJobThatHadEndedSaysSoAtOnce) {
  CrashingFileSystem disk;
  RealCluster cluster(
      absl::StrCat("model { tensors { tensor { name: 'w' shape: 300 } } } steps: 3 ",
                   "membership { workers: 2 }"),
      2, On(&disk));
  cluster.Steps(3, Gradient);
  EXPECT_EQ(cluster.cluster.Phase(), "finishing");
  Restart(&cluster, &disk);
  EXPECT_EQ(cluster.cluster.Phase(), "finishing");
  const auto back = cluster.cluster.Join("w0", 9);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_TRUE(back->finished());
  EXPECT_EQ(back->newest().version(), 3u);
  EXPECT_TRUE(disk.Size("/state/final.safetensors").ok());
}

TEST(CoordinatorRestartTest, AFullDiskPausesTheTrainingUntilThereIsRoom) {
  const std::string job = JobText("membership { workers: 2 } codec: 'top_k:0.1'");
  RealCluster reference(job, 2);
  reference.Steps(6, Gradient);
  CrashingFileSystem disk;
  RealCluster cluster(job, 2, On(&disk));
  cluster.Steps(3, Gradient);
  disk.SetSpace(20);
  for (size_t w = 0; w < 2; ++w) cluster.Push(w, Gradient);
  EXPECT_EQ(cluster.cluster.version(), 3u);
  EXPECT_THAT(cluster.cluster.Phase(), HasSubstr("disk is full"));
  cluster.cluster.coordinator->Tick();
  EXPECT_EQ(cluster.cluster.version(), 3u);
  disk.SetSpace(std::nullopt);
  cluster.cluster.coordinator->Tick();
  EXPECT_EQ(cluster.cluster.version(), 4u);
  EXPECT_EQ(cluster.cluster.Phase(), "training");
  cluster.Follow();
  cluster.Steps(2, Gradient);
  EXPECT_EQ(cluster.replica().Hash(), reference.replica().Hash());
}

TEST(CoordinatorRestartTest, AStateThatAWorkerNoLongerHasHoldsBackNoLog) {
  CrashingFileSystem disk;
  RealCluster cluster(JobText("membership { workers: 1 } snapshot_every: 5"), 1, On(&disk));
  v1::JoinRequest request;
  request.set_worker_id("other");
  request.set_session(1);
  request.set_apply_revision(kApplyRevision);
  request.add_saved()->set_version(1);
  ASSERT_TRUE(cluster.cluster.coordinator->Join(request, "peer").ok());
  const auto train = [&](int steps) {
    for (int i = 0; i < steps; ++i) {
      cluster.Step(Gradient);
      const uint64_t version = cluster.cluster.version();
      if (version % 5 == 0) WaitForSnapshot(cluster.cluster.coordinator->snapshots(), version);
      cluster.cluster.coordinator->Tick();
    }
  };
  train(20);
  EXPECT_EQ(cluster.cluster.coordinator->log().range().oldest, 0u);
  request.clear_saved();
  ASSERT_TRUE(cluster.cluster.coordinator->Join(request, "peer").ok());
  train(20);
  EXPECT_GT(cluster.cluster.coordinator->log().range().oldest, 20u);
}

TEST(CoordinatorRestartTest, WithLagTheWayToASavedStateBeginsOneVersionBeforeIt) {
  for (const uint64_t lag : {uint64_t{0}, uint64_t{1}}) {
    SCOPED_TRACE(lag);
    CrashingFileSystem disk;
    RealCluster cluster(
        JobText(absl::StrCat("membership { workers: 1 } snapshot_every: 5 lag: ", lag)), 1,
        On(&disk));
    const auto train_to = [&](uint64_t end) {
      while (cluster.cluster.version() < end) {
        cluster.Step(Gradient);
        const uint64_t version = cluster.cluster.version();
        if (version % 5 == 0) WaitForSnapshot(cluster.cluster.coordinator->snapshots(), version);
        cluster.cluster.coordinator->Tick();
      }
    };
    train_to(20);
    v1::JoinRequest request;
    request.set_worker_id("other");
    request.set_session(1);
    request.set_apply_revision(kApplyRevision);
    request.add_saved()->set_version(20);
    request.mutable_saved(0)->set_chain_hash(cluster.cluster.chain_hash());
    ASSERT_TRUE(cluster.cluster.coordinator->Join(request, "peer").ok());
    train_to(40);
    const uint64_t kept = 20 - 5 * lag;
    EXPECT_EQ(cluster.cluster.coordinator->log().range().oldest, kept);
    const auto again = cluster.cluster.coordinator->Join(request, "peer");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->recover_at().version(), 20u);
    EXPECT_EQ(cluster.cluster.coordinator->snapshots().Newest(20 - lag)->version, kept);
  }
}

TEST(CoordinatorRestartTest, AFixedMemberIsWaitedForAndItsRankIsItsOwn) {
  CrashingFileSystem disk;
  RealCluster cluster(JobText("membership { workers: 2 mode: FIXED lost_timeout_seconds: 30 }"), 2,
                      On(&disk));
  cluster.Steps(2, Gradient);
  EXPECT_EQ(cluster.cluster.Join("stranger", 5).status().code(),
            absl::StatusCode::kFailedPrecondition);
  cluster.cluster.BreakStream(cluster.workers[1].at);
  cluster.Push(0, Gradient);
  const auto pass = [&](int tenths) {
    for (int i = 0; i < tenths; ++i) {
      cluster.cluster.clock.Advance(absl::Milliseconds(100));
      cluster.cluster.Heartbeat(cluster.workers[0].at);
      cluster.cluster.coordinator->Tick();
    }
  };
  pass(250);
  EXPECT_EQ(cluster.cluster.version(), 2u);
  // Its new incarnation takes part in the open step.
  const auto back = cluster.cluster.Join("w1", 88);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->rank(), 1u);
  cluster.workers[1].at.lease = *back;
  cluster.workers[1].at.session = 88;
  Greet(&cluster, 1);
  ASSERT_TRUE(cluster.cluster.coordinator->CaughtUp(cluster.workers[1].at.who()).ok());
  cluster.Push(1, Gradient);
  EXPECT_EQ(cluster.cluster.version(), 3u);
  cluster.Follow();
  ASSERT_EQ(cluster.header().used_size(), 2);
  EXPECT_EQ(cluster.header().used(1).incarnation(), 2u);
  // Gone for good: the job says who, and stops; what is on the disk stays.
  cluster.cluster.BreakStream(cluster.workers[1].at);
  pass(400);
  EXPECT_EQ(cluster.cluster.Phase(), "failed");
  const Coordinator::Result result = cluster.cluster.coordinator->WaitForEnd(absl::ZeroDuration());
  EXPECT_THAT(std::string(result.failure.message()), HasSubstr("worker \"w1\" (rank 1) was lost"));
  EXPECT_EQ(result.failure.code(), absl::StatusCode::kDeadlineExceeded);
  Restart(&cluster, &disk);
  EXPECT_EQ(cluster.cluster.version(), 3u);
}

}  // namespace
}  // namespace gradwire
