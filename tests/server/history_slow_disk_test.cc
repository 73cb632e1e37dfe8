// SPDX-License-Identifier: Apache-2.0
// A disk that takes long over a snapshot: the next one comes late, not never, and the log does not
// grow without end meanwhile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/history.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"
#include "tests/server/held_file_system.h"

namespace gradwire {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HistorySlowDiskTest : public testing::Test {
 protected:
  // identity of 100 coordinates: about 450 bytes a record.
  void Open(uint64_t snapshot_every, size_t snapshot_bytes = size_t{1} << 20) {
    job_ = MakeTestJob(absl::StrCat(
        "model { tensors { tensor { name: 'w' shape: 100 } } } steps: 1000 codec: 'identity' "
        "snapshot_every: ",
        snapshot_every));
    HistoryOptions options;
    options.files = &disk_;
    options.state_dir = folder_;
    options.snapshot_bytes = snapshot_bytes;
    options.snapshots_kept = 100;
    auto history = History::Open(job_, options);
    ASSERT_TRUE(history.ok()) << history.status();
    history_ = *std::move(history);
  }
  ~HistorySlowDiskTest() override { disk_.LetGo(); }

  absl::Status CommitNext() {
    const Replica& replica = history_->replica();
    const uint64_t step = replica.version() + 1;
    const auto record =
        replica.started() ? NextRecord(replica, TestGradient(*job_, step)) : FirstRecord(*job_);
    if (record_ == nullptr || record_->version != record->version) {
      const absl::Status made = history_->state().Replay(*record, replica);
      if (!made.ok()) return made;
      record_ = record;
    }
    return history_->Commit(record_, RecordHeader(*record_));
  }
  void CommitUpTo(uint64_t version) {
    while (!history_->replica().started() || history_->replica().version() < version) {
      const absl::Status status = CommitNext();
      ASSERT_TRUE(status.ok()) << status;
    }
  }
  std::vector<uint64_t> Versions() const { return history_->snapshots().versions(); }

  const std::string folder_ = TestFolder();
  HeldFileSystem disk_;
  std::shared_ptr<const Job> job_;
  std::unique_ptr<History> history_;
  std::shared_ptr<const Record> record_;  // made, and perhaps not yet taken
};

TEST_F(HistorySlowDiskTest, AMissedSnapshotIsTakenAtTheFirstVersionThatCanHaveOne) {
  Open(4);
  disk_.Hold();
  CommitUpTo(14);  // 8 and 12 are missed while 4 is being written: one is owed
  EXPECT_THAT(Versions(), IsEmpty());
  EXPECT_TRUE(history_->snapshots().publishing());
  disk_.LetGo();
  history_->WaitForSnapshot();
  EXPECT_THAT(Versions(), ElementsAre(4));
  CommitUpTo(15);
  history_->WaitForSnapshot();
  EXPECT_THAT(Versions(), ElementsAre(4, 15));
  CommitUpTo(16);  // and the next is where it always was
  history_->WaitForSnapshot();
  CommitUpTo(18);
  history_->WaitForSnapshot();
  EXPECT_THAT(Versions(), ElementsAre(4, 15, 16));
}

TEST_F(HistorySlowDiskTest, NothingIsOwedForWhatWasTaken) {
  Open(4);
  for (uint64_t version = 0; version <= 12; ++version) {
    CommitUpTo(version);
    history_->WaitForSnapshot();
  }
  EXPECT_THAT(Versions(), ElementsAre(4, 8, 12));
}

TEST_F(HistorySlowDiskTest, ALateSnapshotIsAsGoodAsAnyOther) {
  Open(4);
  disk_.Hold();
  CommitUpTo(9);
  disk_.LetGo();
  history_->WaitForSnapshot();
  CommitUpTo(11);
  history_->WaitForSnapshot();
  history_->Trim(11);
  EXPECT_EQ(history_->log().range().oldest, 4u);  // the oldest snapshot's own, and none before it
  const uint64_t hash = history_->replica().Hash();
  history_.reset();
  Open(4);
  EXPECT_THAT(Versions(), ElementsAre(4, 10));
  EXPECT_EQ(history_->replica().version(), 11u);
  EXPECT_EQ(history_->replica().Hash(), hash);
  EXPECT_EQ(hash, TrainedReplica(job_, 11).Hash());
}

TEST_F(HistorySlowDiskTest, TheLogBetweenSnapshotsIsBoundedHoweverSlowTheDiskIs) {
  constexpr size_t kSnapshotBytes = 5000;
  Open(100000, kSnapshotBytes);
  ASSERT_TRUE(CommitNext().ok());
  for (int round = 0; round < 5; ++round) {
    disk_.Hold();
    size_t bytes = 0;  // since the snapshot that is held
    absl::Status status;
    for (int step = 0; step < 100 && status.ok(); ++step) {
      const bool before = history_->snapshots().publishing();
      status = CommitNext();
      if (status.ok() && before) bytes += record_->bytes;
    }
    ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(folder_));
    EXPECT_THAT(std::string(status.message()), HasSubstr("--snapshot_after"));
    EXPECT_GT(bytes, 2 * kSnapshotBytes);
    EXPECT_LE(bytes, 2 * kSnapshotBytes + record_->bytes);
    // Nothing has changed, and the same record is taken when the disk is free.
    const uint64_t version = history_->replica().version();
    EXPECT_EQ(history_->log().range().newest, version);
    EXPECT_EQ(CommitNext().code(), absl::StatusCode::kResourceExhausted);
    disk_.LetGo();
    history_->WaitForSnapshot();
    ASSERT_TRUE(CommitNext().ok());
    history_->WaitForSnapshot();
    EXPECT_EQ(history_->replica().version(), version + 1);
    EXPECT_EQ(Versions().back(), version + 1);  // owed, and taken at once
  }
  EXPECT_EQ(history_->replica().Hash(), TrainedReplica(job_, history_->replica().version()).Hash());
}

}  // namespace
}  // namespace gradwire
