// SPDX-License-Identifier: Apache-2.0
// Whatever crashes when, with log, snapshots and server state on the disk together: the server
// comes back at a version that it once had, with all that was promised, and goes on from there.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/history.h"
#include "tests/common/replica/crashing_file_system.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

constexpr uint64_t kSteps = 7;

class HistoryCrashTest : public testing::Test {
 protected:
  HistoryCrashTest()
      : job_(MakeTestJob("model { tensors { tensor { name: 'w' shape: 30 } } } steps: 100 "
                         "codec: 'random_k:0.2' perturbation: 'gaussian:std=0.1' "
                         "reset: 'reset:radius=0.5' snapshot_every: 2")) {
    Replica replica(job_);
    ServerState state(job_);
    for (uint64_t version = 0; version <= kSteps; ++version) {
      records_.push_back(version == 0 ? FirstRecord(*job_)
                                      : NextRecord(replica, TestGradient(*job_, version)));
      EXPECT_TRUE(state.Replay(*records_.back(), replica).ok());
      state.Applying(replica);
      EXPECT_TRUE(replica.Apply(*records_.back()).ok());
      state.Applied(replica);
      living_.push_back(state.Encode(replica));
      hashes_.push_back(replica.Hash());
    }
  }

  absl::StatusOr<std::unique_ptr<History>> Open(CrashingFileSystem* disk) const {
    HistoryOptions options;
    options.files = disk;
    options.state_dir = "/state";
    options.fsync = *ParseFsyncPolicy(policy_);
    return History::Open(job_, options);
  }

  // From where the directory is to the end, or to the first error.
  void CommitAll(CrashingFileSystem* disk) {
    const auto history = Open(disk);
    if (!history.ok()) return;
    const Replica& replica = (*history)->replica();
    for (uint64_t next = replica.started() ? replica.version() + 1 : 0; next <= kSteps; ++next) {
      const auto& record = records_[next];
      if (!(*history)->state().Replay(*record, replica).ok()) return;
      if (!(*history)->Commit(record, RecordHeader(*record)).ok()) return;
      committed_ = next + 1;
      if (std::string(policy_) == "always") promised_ = committed_;
      (*history)->WaitForSnapshot();  // so that every run has the same order of writes
      (*history)->Trim(next);
    }
  }

  void ExpectAPoint(CrashingFileSystem* disk, uint64_t promised) const {
    {
      const auto history = Open(disk);
      ASSERT_TRUE(history.ok()) << history.status();
      const Replica& replica = (*history)->replica();
      ASSERT_GE(replica.started() ? replica.version() + 1 : 0, promised);
      if (replica.started()) {
        ASSERT_EQ(replica.Hash(), hashes_[replica.version()]);
        ASSERT_EQ(replica.chain_hash(), records_[replica.version()]->chain_hash);
        ASSERT_EQ((*history)->state().Encode(replica), living_[replica.version()]);
      }
    }
    HistoryCrashTest* const self = const_cast<HistoryCrashTest*>(this);
    self->CommitAll(disk);
    const auto history = Open(disk);
    ASSERT_TRUE(history.ok()) << history.status();
    ASSERT_EQ((*history)->replica().version(), kSteps);
    ASSERT_EQ((*history)->replica().Hash(), hashes_[kSteps]);
  }

  void Reset() { committed_ = promised_ = 0; }

  const std::shared_ptr<const Job> job_;
  const char* policy_ = "always";
  std::vector<std::shared_ptr<const Record>> records_;
  std::vector<std::string> living_;
  std::vector<uint64_t> hashes_;
  // Of the run so far, as next versions.
  uint64_t committed_ = 0;
  uint64_t promised_ = 0;
};

TEST_F(HistoryCrashTest, ComesBackWithWhatWasPromisedAfterEveryCrash) {
  for (const char* policy : {"always", "never"}) {
    policy_ = policy;
    size_t checked = 0;
    uint64_t promised = 0;
    uint64_t committed = 0;
    ForEveryCrash(
        [&](CrashingFileSystem* disk) {
          Reset();
          CommitAll(disk);
          promised = promised_;
          committed = committed_;
        },
        [&](const Crash& crash) {
          SCOPED_TRACE(testing::Message() << policy_ << ": " << crash.text);
          ++checked;
          ExpectAPoint(crash.disk.get(), crash.power_cut ? promised : committed);
        });
    if (HasFatalFailure()) return;
    EXPECT_GT(checked, 200U);
  }
}

TEST_F(HistoryCrashTest, AFullDiskLosesNothingAndTheSameCommitIsTriedAgain) {
  CrashingFileSystem disk;
  const auto history = Open(&disk);
  ASSERT_TRUE(history.ok());
  for (uint64_t next = 0; next <= kSteps; ++next) {
    const auto& record = records_[next];
    ASSERT_TRUE((*history)->state().Replay(*record, (*history)->replica()).ok());
    for (const uint64_t space : {0, 1, 60, 100}) {
      disk.SetSpace(space);
      const absl::Status full = (*history)->Commit(record, RecordHeader(*record));
      ASSERT_EQ(full.code(), absl::StatusCode::kResourceExhausted) << full;
      EXPECT_NE(full.message().find("/state/log"), absl::string_view::npos) << full;
      ASSERT_EQ((*history)->replica().started(), next > 0);
    }
    // Enough for the record: a snapshot that finds no room is left out, and said.
    disk.SetSpace(std::nullopt);
    ASSERT_TRUE((*history)->Commit(record, RecordHeader(*record)).ok());
    (*history)->WaitForSnapshot();
    ASSERT_EQ((*history)->replica().Hash(), hashes_[next]);
    ASSERT_EQ((*history)->state().Encode((*history)->replica()), living_[next]);
  }
}

}  // namespace
}  // namespace gradwire
