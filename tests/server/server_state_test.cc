// SPDX-License-Identifier: Apache-2.0
// The server's state is a function of the records: whoever replays them, from whichever snapshot,
// has the bytes that the living server has.
#include "server/server_state.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/history.h"
#include "tests/common/replica/crashing_file_system.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/real_cluster.h"

namespace gradwire {
namespace {

constexpr const char* kJobs[] = {
    "codec: 'identity' optimizer: 'adam:lr=0.01' perturbation: 'gaussian:std=0.1'",
    "codec: 'random_k:0.1' perturbation: 'gaussian:std=0.1'",
    "codec: 'random_k:0.7,values=bf16' perturbation: 'gaussian:std=0.1' downlink: 'compressed'",
    "codec: 'random_k:0.1' perturbation: 'gaussian:std=0.1' reset: 'reset:steps=3'",
    "codec: 'random_k:0.1' reset: 'reset:radius=0.5'",
    "codec: 'random_k:0.7' reset: 'flush:radius=0.5' schedule: 'step_decay:at=4,factor=0.1'",
    "codec: 'top_k:0.1'",
    "codec: 'top_k:0.4,values=fp16' reset: 'flush:steps=4' clip: 'value:0.5'",
    "codec: 'top_k:0.1' downlink: 'aggregate' reset: 'reset:radius=0.3'",
    "codec: 'sign' perturbation: 'on_demand:radius=1,threshold=1e9,wait=3,escape=0.5'",
    "codec: 'qsgd' error_feedback: 'classic' optimizer: 'sgd:0.01,0.9'",
    "codec: 'one_bit' tensors { name: '*.bias' codec: 'random_k:0.5' }",
    "codec: 'top_k:0.1' error_feedback: 'ef21' reset: 'reset:steps=4'",
    "codec: 'count_sketch:momentum=0.9' perturbation: 'gaussian:std=0.1'",
    "codec: 'count_sketch' reset: 'reset:steps=3'",
    "codec: 'powersgd:1' perturbation: 'gaussian:std=0.1' reset: 'flush:steps=3'",
    "codec: 'identity' aggregator: 'coordinate_median' clip: 'norm:0.5' max_norm_factor: 1",
    "codec: 'random_k:0.3' aggregator: 'trimmed_mean' perturbation: 'gaussian:std=0.1'",
    "codec: 'top_k:0.1' aggregator: 'norm_clip' reset: 'flush:steps=4'",
    "codec: 'dgc:0.1' optimizer: 'sgd:lr=0.1' schedule: 'plateau:factor=0.5,metric=loss'",
};

constexpr uint64_t kSteps = 11;

struct Living {
  std::string state;
  uint64_t replica = 0;
};

// Trains, and notes what the server is after every record.
std::vector<Living> Train(const std::string& job_text, uint64_t snapshot_every,
                          CrashingFileSystem* disk) {
  CoordinatorOptions options;
  options.history.files = disk;
  options.history.state_dir = "/state";
  options.history.snapshots_kept = 100;
  RealCluster cluster(absl::StrCat(job_text, " snapshot_every: ", snapshot_every), 2,
                      std::move(options));
  const size_t dimension = cluster.job().layout.dimension();
  const auto gradient = [&](size_t w, uint64_t s) { return NormalGradient(dimension, w, s); };
  std::vector<Living> living;
  for (uint64_t step = 0; step <= kSteps; ++step) {
    if (step > 0) cluster.Step(gradient);
    living.push_back({cluster.cluster.coordinator->EncodeState(), cluster.replica().Hash()});
    if (step > 0 && step % snapshot_every == 0) {
      WaitForSnapshot(cluster.cluster.coordinator->snapshots(), step);
    }
  }
  return living;
}

std::string JobText(const char* choice) {
  return absl::StrCat("model { mlp { inputs: 30 hidden: 20 classes: 5 } } steps: 50 ",
                      "membership { workers: 2 } ", choice);
}

absl::StatusOr<std::unique_ptr<LogStore>> OpenLog(const Job& job, FileSystem* disk) {
  LogStoreOptions options;
  options.files = disk;
  options.folder = "/state/log";
  options.schema_hash = job.schema_hash;
  return LogStore::Open(std::move(options));
}

TEST(ServerStateTest, ReplayFromEverySnapshotGivesTheLivingState) {
  for (const char* choice : kJobs) {
    SCOPED_TRACE(choice);
    CrashingFileSystem disk;
    const std::vector<Living> living = Train(JobText(choice), 3, &disk);
    const auto job = MakeTestJob(absl::StrCat(JobText(choice), " snapshot_every: 3"));
    auto store = OpenLog(*job, &disk);
    ASSERT_TRUE(store.ok()) << store.status();
    auto snapshots = Snapshots::Open({.files = &disk, .state_dir = "/state", .kept = 100}, job);
    ASSERT_TRUE(snapshots.ok()) << snapshots.status();
    std::vector<uint64_t> starts = (*snapshots)->versions();
    ASSERT_EQ(starts.size(), 3u);
    starts.insert(starts.begin(), 0);
    for (const uint64_t start : starts) {
      SCOPED_TRACE(start);
      Replica replica(job);
      ServerState state(job);
      uint64_t next = 0;
      if (start > 0) {
        auto loaded = (*snapshots)->Load(start);
        ASSERT_TRUE(loaded.ok()) << loaded.status();
        const absl::Status restored =
            state.Load(loaded->server_state, start, loaded->contents.chain_hash);
        ASSERT_TRUE(restored.ok()) << restored;
        ASSERT_TRUE(replica.Load(std::move(loaded->contents)).ok());
        next = start + 1;
        EXPECT_EQ(state.Encode(replica), living[start].state);
      }
      for (; next <= kSteps; ++next) {
        const auto record = (*store)->Read(next);
        ASSERT_TRUE(record.ok()) << record.status();
        const absl::Status replayed = state.Replay(**record, replica);
        ASSERT_TRUE(replayed.ok()) << replayed;
        state.Applying(replica);
        ASSERT_TRUE(replica.Apply(**record).ok());
        state.Applied(replica);
        ASSERT_EQ(state.Encode(replica), living[next].state) << "version " << next;
        ASSERT_EQ(replica.Hash(), living[next].replica) << "version " << next;
      }
    }
  }
}

// A server that is killed after each step, and one that is not, make the same updates.
TEST(ServerStateTest, AServerThatIsKilledAfterEveryStepMakesTheSameHistory) {
  for (const char* choice : kJobs) {
    SCOPED_TRACE(choice);
    CrashingFileSystem disk;
    const std::vector<Living> living = Train(JobText(choice), 4, &disk);
    const auto job = MakeTestJob(absl::StrCat(JobText(choice), " snapshot_every: 4"));
    auto store = OpenLog(*job, &disk);
    ASSERT_TRUE(store.ok()) << store.status();
    HistoryOptions options;
    CrashingFileSystem other;
    options.files = &other;
    options.state_dir = "/state";
    for (uint64_t version = 0; version <= kSteps; ++version) {
      const auto history = History::Open(job, options);
      ASSERT_TRUE(history.ok()) << history.status();
      const auto record = (*store)->Read(version);
      ASSERT_TRUE((*history)->state().Replay(**record, (*history)->replica()).ok());
      ASSERT_TRUE((*history)->Commit(*record, RecordHeader(**record)).ok());
      ASSERT_EQ((*history)->state().Encode((*history)->replica()), living[version].state);
    }
  }
}

TEST(ServerStateTest, AStateOfAnotherPointIsRefused) {
  CrashingFileSystem disk;
  const std::vector<Living> living = Train(JobText(kJobs[3]), 3, &disk);
  const auto job = MakeTestJob(absl::StrCat(JobText(kJobs[3]), " snapshot_every: 3"));
  auto snapshots = Snapshots::Open({.files = &disk, .state_dir = "/state", .kept = 100}, job);
  ASSERT_TRUE(snapshots.ok());
  const ChainHash at_three = (*snapshots)->Newest(3)->chain_hash;
  EXPECT_TRUE(ServerState(job).Load(living[3].state, 3, at_three).ok());
  EXPECT_FALSE(ServerState(job).Load(living[3].state, 4, at_three).ok());
  EXPECT_FALSE(ServerState(job).Load(living[6].state, 3, at_three).ok());
  EXPECT_FALSE(ServerState(job).Load(living[3].state.substr(1), 3, at_three).ok());
  const auto other = MakeTestJob(JobText("codec: 'identity'"));
  EXPECT_FALSE(ServerState(other).Load(living[3].state, 3, at_three).ok());
}

}  // namespace
}  // namespace gradwire
