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

MadeUpdate Made(const Record& record) { return {.parts = record.parts, .payload_bytes = 400}; }

// Commits record 0 and then `steps` more.
void CommitSteps(History* history, uint64_t steps) {
  const auto& job = *history->replica().job();
  ASSERT_TRUE(history->Commit(0, Made(*FirstRecord(job))).ok());
  for (uint64_t step = 1; step <= steps; ++step) {
    const auto record = NextRecord(history->replica(), TestGradient(job, step));
    const absl::Status status = history->Commit(step, Made(*record));
    ASSERT_TRUE(status.ok()) << status;
  }
}

TEST(HistoryTest, WhatIsCommittedIsOnTheLogAndInTheReplica) {
  const auto job = HistoryJob("");
  const auto history = History::Create(job, TestFolder(), 1 << 20);
  ASSERT_TRUE(history.ok());
  CommitSteps(history->get(), 7);
  EXPECT_EQ((*history)->log().range().newest, 7u);
  EXPECT_EQ((*history)->replica().Hash(), TrainedReplica(job, 7).Hash());
  EXPECT_EQ((*history)->log().Find(7)->chain_hash, (*history)->replica().chain_hash());
}

TEST(HistoryTest, ReplicasAreComparedAtMultiplesOfHashEvery) {
  const auto job = HistoryJob("hash_every: 3");
  const auto history = History::Create(job, TestFolder(), 1 << 20);
  ASSERT_TRUE(history.ok());
  ASSERT_TRUE((*history)->Commit(0, Made(*FirstRecord(*job))).ok());
  for (uint64_t step = 1; step <= 9; ++step) {
    const auto record = NextRecord((*history)->replica(), TestGradient(*job, step));
    ASSERT_TRUE((*history)->Commit(step, Made(*record)).ok());
    const uint64_t* hash = (*history)->comparable_hash();
    ASSERT_EQ(hash != nullptr, step % 3 == 0) << step;
    if (hash != nullptr) {
      EXPECT_EQ(*hash, TrainedReplica(job, step).Hash());
    }
  }
}

TEST(HistoryTest, SnapshotsFallOnMultiplesOfSnapshotEvery) {
  const auto job = HistoryJob("snapshot_every: 4");
  const auto history = History::Create(job, TestFolder(), 1 << 20);
  ASSERT_TRUE(history.ok());
  CommitSteps(history->get(), 9);
  EXPECT_EQ((*history)->snapshots().Newest(UINT64_MAX)->version, 8u);
  EXPECT_EQ((*history)->snapshots().Newest(7)->version, 4u);
  EXPECT_EQ((*history)->snapshots().Newest(3), nullptr);
}

// identity of 100 coordinates: about 450 bytes a record.
TEST(HistoryTest, TheLogStaysWithinItsBoundAndKeepsTheSnapshotsOwnRecord) {
  constexpr size_t kMaxBytes = 10000;
  const auto job = HistoryJob("codec: 'identity' snapshot_every: 100000");
  const auto history = History::Create(job, TestFolder(), kMaxBytes);
  ASSERT_TRUE(history.ok());
  ASSERT_TRUE((*history)->Commit(0, Made(*FirstRecord(*job))).ok());
  for (uint64_t step = 1; step <= 200; ++step) {
    const auto record = NextRecord((*history)->replica(), TestGradient(*job, step));
    ASSERT_TRUE((*history)->Commit(step, Made(*record)).ok());
    const UpdateLog::Range range = (*history)->log().range();
    // A snapshot, and a cut, comes after every half of the limit.
    ASSERT_LE(range.bytes, kMaxBytes * 3 / 2 + record->bytes) << "step " << step;
    const Snapshots::File* snapshot = (*history)->snapshots().Newest(UINT64_MAX);
    if (range.oldest == 0) continue;
    ASSERT_NE(snapshot, nullptr);
    // Whoever starts from the snapshot names its record, and goes on with the next.
    ASSERT_LE(range.oldest, snapshot->version);
    ASSERT_EQ((*history)->log().Find(snapshot->version)->chain_hash, snapshot->chain_hash);
  }
  EXPECT_GT((*history)->log().range().oldest, 100u);
}

TEST(HistoryTest, ARecordThatDoesNotFollowIsRefused) {
  const auto job = HistoryJob("");
  const auto history = History::Create(job, TestFolder(), 1 << 20);
  ASSERT_TRUE(history.ok());
  CommitSteps(history->get(), 2);
  const uint64_t hash = (*history)->replica().Hash();
  const auto record = NextRecord(TrainedReplica(job, 4), TestGradient(*job, 5));
  EXPECT_EQ((*history)->Commit(5, Made(*record)).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*history)->replica().Hash(), hash);
  EXPECT_EQ((*history)->log().range().newest, 2u);
}

}  // namespace
}  // namespace gradwire
