// SPDX-License-Identifier: Apache-2.0
// A job that keeps no updates on disk: what a killed server comes back with, and how workers do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

std::string JobOf(uint64_t snapshot_every, absl::string_view mode = "FIXED",
                  absl::string_view log = "snapshots_only") {
  return absl::StrCat("model { tensors { tensor { name: 'w' shape: 40 } } } steps: 8 ",
                      "optimizer: 'sgd:lr=0.5,momentum=0.9' snapshot_every: ", snapshot_every,
                      " membership { workers: 2 mode: ", mode, " } log: '", log, "'");
}

CoordinatorOptions In(const std::string& folder) {
  CoordinatorOptions options;
  options.history.state_dir = folder;
  return options;
}

// A function of step and worker: identity leaves no residual, so a step that is done again is the
// same.
std::vector<float> GradientOf(uint64_t step, size_t worker) {
  return std::vector<float>(40, static_cast<float>(step) + 0.25f * static_cast<float>(worker));
}

void Steps(FakeCluster* cluster, const std::vector<FakeWorker>& workers, uint64_t until) {
  for (uint64_t step = cluster->Status().point().version() + 1; step <= until; ++step) {
    const auto messages = [&](size_t i) {
      return MakePayload(*cluster->job, step, cluster->Status().point().chain_hash(),
                         GradientOf(step, i));
    };
    const std::vector<std::vector<v1::Gradient>> payloads = {messages(0), messages(1)};
    for (size_t i = 0; i < workers.size(); ++i) {
      for (const v1::Gradient& message : payloads[i]) {
        ASSERT_TRUE(cluster->Send(workers[i], message).ok());
      }
    }
  }
}

// As Enter, for a worker that has fetched the newest snapshot.
FakeWorker EnterAtNewest(FakeCluster* cluster, const std::string& id, uint64_t session) {
  FakeWorker worker = {
      .id = id, .session = session, .lease = {}, .stream = std::make_shared<FakeStream>()};
  worker.lease = *cluster->Join(id, session);
  v1::Hello hello = worker.who();
  *hello.mutable_at() = worker.lease.newest();
  const auto next = cluster->coordinator->Hello(hello, worker.stream);
  EXPECT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(*next, worker.lease.newest().version() + 1);
  EXPECT_TRUE(cluster->coordinator->CaughtUp(worker.who()).ok());
  return worker;
}

uint64_t HashAtEnd(FakeCluster* cluster, const FakeWorker& worker) {
  v1::LeaveRequest leave;
  leave.set_worker_id(worker.id);
  leave.set_incarnation(worker.lease.incarnation());
  const auto left = cluster->coordinator->Leave(leave);
  EXPECT_TRUE(left.ok()) << left.status();
  return left.ok() ? left->parameters_hash() : 0;
}

// What a run without a crash ends with.
uint64_t FinalHash(const std::string& job) {
  FakeCluster cluster(job);
  const std::vector<FakeWorker> workers = cluster.EnterAll(2);
  Steps(&cluster, workers, 8);
  EXPECT_EQ(cluster.Status().point().version(), 8u);
  return HashAtEnd(&cluster, workers[0]);
}

TEST(SnapshotsOnlyTest, NothingButSnapshotsIsOnDisk) {
  FakeCluster cluster(JobOf(3));
  Steps(&cluster, cluster.EnterAll(2), 5);
  WaitForSnapshot(cluster.coordinator->snapshots(), 3);
  EXPECT_FALSE(std::filesystem::exists(TestFolder() + "/log"));
  for (uint64_t version = 0; version <= 5; ++version) {
    EXPECT_NE(cluster.coordinator->log().Find(version), nullptr) << version;  // in memory
  }
}

TEST(SnapshotsOnlyTest, TheBitsAreThoseOfAFullLog) {
  const uint64_t hash = FinalHash(JobOf(3, "FIXED", "full"));
  EXPECT_NE(hash, 0u);
  EXPECT_EQ(FinalHash(JobOf(3)), hash);
}

TEST(SnapshotsOnlyTest, AKilledServerStandsAtItsNewestSnapshotAndTheTrainingGoesOn) {
  const uint64_t want = FinalHash(JobOf(3));
  const std::string folder = TestFolder();
  v1::Point lost;
  {
    FakeCluster cluster(JobOf(3), In(folder));
    Steps(&cluster, cluster.EnterAll(2), 5);
    WaitForSnapshot(cluster.coordinator->snapshots(), 3);
    lost = cluster.Status().point();
  }
  FakeCluster cluster(JobOf(3), In(folder));
  EXPECT_EQ(cluster.Status().point().version(), 3u);
  const UpdateLog::Range range = cluster.coordinator->log().range();
  EXPECT_TRUE(range.empty);
  EXPECT_EQ(range.oldest, 4u);

  // One that is ahead, and one that has nothing, are told to fetch the snapshot.
  FakeWorker ahead = {.id = "w0", .session = 2, .lease = {}, .stream = nullptr};
  ahead.lease = *cluster.Join("w0", 2);
  EXPECT_EQ(ahead.lease.oldest_version(), 4u);
  EXPECT_EQ(ahead.lease.newest().version(), 3u);
  for (const v1::Point& at : {lost, v1::Point()}) {
    v1::Hello hello = ahead.who();
    *hello.mutable_at() = at;
    const auto next = cluster.coordinator->Hello(hello, std::make_shared<FakeStream>());
    EXPECT_TRUE(absl::IsOutOfRange(next.status())) << next.status();
  }
  ASSERT_TRUE(cluster.coordinator->SnapshotAt(0).ok());
  EXPECT_EQ(cluster.coordinator->SnapshotAt(0)->version, 3u);

  const std::vector<FakeWorker> workers = {EnterAtNewest(&cluster, "w0", 2),
                                           EnterAtNewest(&cluster, "w1", 2)};
  Steps(&cluster, workers, 8);
  EXPECT_EQ(cluster.Status().point().version(), 8u);
  EXPECT_EQ(HashAtEnd(&cluster, workers[0]), want);
}

TEST(SnapshotsOnlyTest, BeforeTheFirstSnapshotTheJobBeginsAnew) {
  const std::string folder = TestFolder();
  {
    FakeCluster cluster(JobOf(1000), In(folder));
    Steps(&cluster, cluster.EnterAll(2), 5);
  }
  FakeCluster cluster(JobOf(1000), In(folder));
  EXPECT_EQ(cluster.Phase(), "waiting for workers");
  Steps(&cluster, cluster.EnterAll(2), 2);
  EXPECT_EQ(cluster.Status().point().version(), 2u);
}

TEST(SnapshotsOnlyTest, WhereMemoryDoesNotReachBackToASnapshotAJoinerGetsOne) {
  CoordinatorOptions options = In(TestFolder());
  options.history.max_cached_bytes = 1;  // the newest record
  FakeCluster cluster(JobOf(1000, "ELASTIC"), options);
  Steps(&cluster, cluster.EnterAll(2), 5);
  EXPECT_FALSE(cluster.coordinator->SnapshotAt(0).ok());
  const FakeWorker late = EnterAtNewest(&cluster, "late", 1);
  EXPECT_EQ(cluster.coordinator->SnapshotAt(0)->version, 5u);
  EXPECT_EQ(late.lease.newest().version(), 5u);
  // The next one needs none: the log goes on from there.
  EnterAtNewest(&cluster, "later", 1);
  EXPECT_EQ(cluster.coordinator->snapshots().versions().size(), 1u);
}

TEST(SnapshotsOnlyTest, ADirectoryOfAnotherKindIsRefused) {
  const std::string folder = TestFolder();
  { FakeCluster cluster(JobOf(3), In(folder)); }
  const std::string full = JobOf(3, "FIXED", "full");
  FakeClock clock;
  ServerCounters counters;
  const auto refused = Coordinator::Create(In(folder), FakeCluster(full, In(folder + "/other")).job,
                                           &clock, &counters);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status()));
  EXPECT_THAT(std::string(refused.status().message()), testing::HasSubstr("log"));
}

}  // namespace
}  // namespace gradwire
