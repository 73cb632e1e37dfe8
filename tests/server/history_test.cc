// SPDX-License-Identifier: Apache-2.0
// Where updates become the model: log, replica, snapshots and the log's bound.
#include "server/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

std::shared_ptr<const Job> HistoryJob(const std::string& rest) {
  return MakeTestJob(
      absl::StrCat("model { tensors { tensor { name: 'w' shape: 100 } } } steps: 1000 ", rest));
}

absl::StatusOr<std::unique_ptr<History>> OpenHistory(const std::shared_ptr<const Job>& job,
                                                     const std::string& folder = TestFolder(),
                                                     size_t snapshot_bytes = size_t{1} << 20) {
  HistoryOptions options;
  options.state_dir = folder;
  options.snapshot_bytes = snapshot_bytes;
  return History::Open(job, options);
}

absl::Status CommitNext(History* history) {
  const auto& job = *history->replica().job();
  const uint64_t step = history->replica().version() + 1;
  const auto record = history->replica().started()
                          ? NextRecord(history->replica(), TestGradient(job, step))
                          : FirstRecord(job);
  // As the coordinator's maker leaves it.
  const absl::Status made = history->state().Replay(*record, history->replica());
  if (!made.ok()) return made;
  return history->Commit(record, RecordHeader(*record));
}

// Commits record 0 and then `steps` more.
void CommitSteps(History* history, uint64_t steps) {
  for (uint64_t step = 0; step <= steps; ++step) {
    const absl::Status status = CommitNext(history);
    ASSERT_TRUE(status.ok()) << status;
  }
}

TEST(HistoryTest, WhatIsCommittedIsOnTheLogAndInTheReplica) {
  const auto job = HistoryJob("");
  const auto history = OpenHistory(job);
  ASSERT_TRUE(history.ok()) << history.status();
  CommitSteps(history->get(), 7);
  EXPECT_EQ((*history)->log().range().newest, 7u);
  EXPECT_EQ((*history)->replica().Hash(), TrainedReplica(job, 7).Hash());
  EXPECT_EQ((*history)->log().Find(7)->chain_hash, (*history)->replica().chain_hash());
}

TEST(HistoryTest, AnotherProcessGoesOnWhereThisOneEnded) {
  for (const char* rest : {"snapshot_every: 1000", "snapshot_every: 4", "snapshot_every: 7"}) {
    SCOPED_TRACE(rest);
    const auto job = HistoryJob(absl::StrCat("optimizer: 'adam:lr=0.01' hash_every: 1 ", rest));
    const std::string folder = TestFolder();
    {
      const auto history = OpenHistory(job, folder);
      ASSERT_TRUE(history.ok()) << history.status();
      CommitSteps(history->get(), 7);
    }
    const auto history = OpenHistory(job, folder);
    ASSERT_TRUE(history.ok()) << history.status();
    const Replica live = TrainedReplica(job, 7);
    EXPECT_EQ((*history)->replica().Hash(), live.Hash());
    EXPECT_EQ((*history)->replica().chain_hash(), live.chain_hash());
    EXPECT_EQ((*history)->replica().header().SerializeAsString(),
              live.header().SerializeAsString());
    ASSERT_NE((*history)->comparable_hash((*history)->replica().version()), nullptr);
    EXPECT_EQ(*(*history)->comparable_hash((*history)->replica().version()), live.Hash());
    ASSERT_TRUE(CommitNext(history->get()).ok());
    EXPECT_EQ((*history)->replica().Hash(), TrainedReplica(job, 8).Hash());
  }
}

TEST(HistoryTest, ReplicasAreComparedAtMultiplesOfHashEvery) {
  const auto job = HistoryJob("hash_every: 3");
  const auto history = OpenHistory(job);
  ASSERT_TRUE(history.ok());
  ASSERT_TRUE(CommitNext(history->get()).ok());
  for (uint64_t step = 1; step <= 9; ++step) {
    ASSERT_TRUE(CommitNext(history->get()).ok());
    const uint64_t* hash = (*history)->comparable_hash((*history)->replica().version());
    ASSERT_EQ(hash != nullptr, step % 3 == 0) << step;
    if (hash != nullptr) {
      EXPECT_EQ(*hash, TrainedReplica(job, step).Hash());
    }
  }
}

TEST(HistoryTest, SnapshotsFallOnMultiplesOfSnapshotEvery) {
  const auto job = HistoryJob("snapshot_every: 4");
  const auto history = OpenHistory(job);
  ASSERT_TRUE(history.ok());
  CommitSteps(history->get(), 4);
  WaitForSnapshot((*history)->snapshots(), 4);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(CommitNext(history->get()).ok());
  WaitForSnapshot((*history)->snapshots(), 8);
  ASSERT_TRUE(CommitNext(history->get()).ok());
  EXPECT_EQ((*history)->snapshots().Newest(UINT64_MAX)->version, 8u);
  EXPECT_EQ((*history)->snapshots().Newest(7)->version, 4u);
  EXPECT_FALSE((*history)->snapshots().Newest(3).has_value());
}

// identity of 100 coordinates: about 450 bytes a record.
TEST(HistoryTest, TheLogStaysWithinItsBoundAndKeepsTheSnapshotsOwnRecord) {
  constexpr size_t kSnapshotBytes = 5000;
  const auto job = HistoryJob("codec: 'identity' snapshot_every: 100000");
  const auto history = OpenHistory(job, TestFolder(), kSnapshotBytes);
  ASSERT_TRUE(history.ok());
  ASSERT_TRUE(CommitNext(history->get()).ok());
  uint64_t expected = 0;  // the newest snapshot
  size_t bytes = 0;
  for (uint64_t step = 1; step <= 200; ++step) {
    ASSERT_TRUE(CommitNext(history->get()).ok());
    bytes += (*history)->log().Find(step)->bytes;
    if (bytes > kSnapshotBytes) {
      expected = step;
      bytes = 0;
      WaitForSnapshot((*history)->snapshots(), expected);
    }
    (*history)->Trim(step);
    const UpdateLog::Range range = (*history)->log().range();
    // Two snapshots are kept, and the segments since the older of them.
    ASSERT_LE(step - range.oldest, 3 * kSnapshotBytes / 400) << "step " << step;
    if (range.oldest == 0) continue;
    // Whoever starts from a snapshot names its record, and goes on with the next.
    for (const uint64_t version : (*history)->snapshots().versions()) {
      const auto file = (*history)->snapshots().Newest(version);
      ASSERT_NE((*history)->log().Find(version), nullptr) << version;
      ASSERT_EQ((*history)->log().Find(version)->chain_hash, file->chain_hash);
    }
  }
  EXPECT_GT((*history)->log().range().oldest, 100u);
}

// A server that is killed again and again must not grow its log for ever.
TEST(HistoryTest, WhatAnEarlierProcessHasWrittenCountsForTheNextSnapshot) {
  const auto job = HistoryJob("codec: 'identity' snapshot_every: 100000");
  const std::string folder = TestFolder();
  for (int life = 0; life < 10; ++life) {
    const auto history = OpenHistory(job, folder, 5000);
    ASSERT_TRUE(history.ok()) << history.status();
    for (int step = 0; step < 3; ++step) ASSERT_TRUE(CommitNext(history->get()).ok());
    (*history)->WaitForSnapshot();
  }
  const auto history = OpenHistory(job, folder, 5000);
  ASSERT_TRUE(history.ok());
  EXPECT_GE((*history)->snapshots().versions().size(), 2u);  // 30 records of about 450 bytes
}

TEST(HistoryTest, TheLogReachesBackToTheOldestSavedState) {
  const auto job = HistoryJob("codec: 'identity' snapshot_every: 10");
  const auto history = OpenHistory(job);
  ASSERT_TRUE(history.ok());
  ASSERT_TRUE(CommitNext(history->get()).ok());
  for (uint64_t step = 1; step <= 80; ++step) {
    ASSERT_TRUE(CommitNext(history->get()).ok());
    if (step % 10 == 0) WaitForSnapshot((*history)->snapshots(), step);
    (*history)->Trim(33);
  }
  ASSERT_TRUE((*history)->snapshots().Newest(33).has_value());
  EXPECT_EQ((*history)->snapshots().Newest(33)->version, 30u);
  EXPECT_NE((*history)->log().Find(30), nullptr);
  EXPECT_EQ((*history)->snapshots().versions().size(), 3u);
  for (uint64_t step = 81; step <= 90; ++step) ASSERT_TRUE(CommitNext(history->get()).ok());
  WaitForSnapshot((*history)->snapshots(), 90);
  (*history)->Trim(90);
  EXPECT_THAT((*history)->snapshots().versions(), testing::ElementsAre(80u, 90u));
  EXPECT_EQ((*history)->log().Find(70), nullptr);
}

TEST(HistoryTest, ARecordThatDoesNotFollowIsRefused) {
  const auto job = HistoryJob("");
  const auto history = OpenHistory(job);
  ASSERT_TRUE(history.ok());
  CommitSteps(history->get(), 2);
  const uint64_t hash = (*history)->replica().Hash();
  const auto record = NextRecord(TrainedReplica(job, 4), TestGradient(*job, 5));
  EXPECT_EQ((*history)->Commit(record, RecordHeader(*record)).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*history)->replica().Hash(), hash);
  EXPECT_EQ((*history)->log().range().newest, 2u);
}

TEST(HistoryTest, ADirectoryBelongsToOneJobAndOneServer) {
  const auto job = HistoryJob("");
  const std::string folder = TestFolder();
  auto history = OpenHistory(job, folder);
  ASSERT_TRUE(history.ok());
  CommitSteps(history->get(), 2);
  const auto second = OpenHistory(job, folder);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), testing::HasSubstr(folder + "/lock"));
  history->reset();
  const auto other = OpenHistory(HistoryJob("seed: 7"), folder);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.status().message()), testing::HasSubstr("modified: seed: 1 -> 7"));
  EXPECT_TRUE(OpenHistory(job, folder).ok());
}

}  // namespace
}  // namespace gradwire
