// SPDX-License-Identifier: Apache-2.0
// The log as it is served: the newest records from memory, the others from the disk.
#include "common/replica/update_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/replica/log_store.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

TEST(RecordTest, KnowsItsBytesAndItsHash) {
  const auto record = MakeRecord(7, {"ab", "", "c"}, 2);
  EXPECT_EQ(record->version, 7U);
  EXPECT_EQ(record->bytes, 3U);
  EXPECT_EQ(record->payload_bytes, 2U);
  // Published: XXH128("abc").
  EXPECT_EQ(HashText(record->chain_hash), "06b05ab6733a618578af5f94892f3950");
}

class UpdateLogTest : public testing::Test {
 protected:
  UpdateLogTest()
      : folder_(absl::StrCat(testing::TempDir(), "/update_log_",
                             testing::UnitTest::GetInstance()->current_test_info()->name())),
        job_(MakeTestJob("model { tensors { tensor { name: 'w' shape: 20 } } } steps: 100")) {
    std::filesystem::remove_all(folder_);
    auto store = LogStore::Open({.folder = folder_, .schema_hash = 5});
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    Replica replica(job_);
    for (uint64_t version = 0; version < 20; ++version) {
      records_.push_back(version == 0 ? FirstRecord(*job_)
                                      : NextRecord(replica, TestGradient(*job_, version)));
      EXPECT_TRUE(replica.Apply(*records_.back()).ok());
    }
  }

  void Fill(UpdateLog* log, uint64_t from, uint64_t to) {
    for (uint64_t version = from; version < to; ++version) {
      const absl::Status status = log->Append(records_[version]);
      ASSERT_TRUE(status.ok()) << status;
    }
  }

  const std::string folder_;
  const std::shared_ptr<const Job> job_;
  std::unique_ptr<LogStore> store_;
  std::vector<std::shared_ptr<const Record>> records_;
};

TEST_F(UpdateLogTest, TakesOnlyTheNextRecord) {
  UpdateLog log(store_.get(), 1 << 20);
  EXPECT_EQ(log.Append(records_[1]).code(), absl::StatusCode::kFailedPrecondition);
  Fill(&log, 0, 3);
  for (const uint64_t version : {0, 2, 4}) {
    EXPECT_EQ(log.Append(records_[version]).code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_EQ(log.range().newest, 2U);
  EXPECT_EQ(log.Find(3), nullptr);
}

TEST_F(UpdateLogTest, FindsEveryRecordWhateverIsInMemory) {
  for (const size_t cached : {size_t{0}, 3 * records_[1]->bytes, size_t{1} << 20}) {
    SCOPED_TRACE(cached);
    const std::string folder = absl::StrCat(folder_, "_", cached);
    std::filesystem::remove_all(folder);
    auto store = LogStore::Open({.folder = folder, .schema_hash = 5});
    ASSERT_TRUE(store.ok());
    UpdateLog log(store->get(), cached);
    EXPECT_TRUE(log.range().empty);
    EXPECT_EQ(log.Find(0), nullptr);
    Fill(&log, 0, 20);
    EXPECT_LE(log.range().cached_bytes, std::max(cached, records_[19]->bytes));
    for (uint64_t version = 0; version < 20; ++version) {
      const auto found = log.Find(version);
      ASSERT_NE(found, nullptr) << version;
      EXPECT_EQ(found->parts, records_[version]->parts);
      EXPECT_EQ(found->chain_hash, records_[version]->chain_hash);
    }
    EXPECT_EQ(log.Find(20), nullptr);
  }
}

// A reader that is up to date asks again and again, while records come.
TEST_F(UpdateLogTest, WhatTheRangeNamesCanBeFound) {
  constexpr uint64_t kRecords = 5000;
  UpdateLog log(store_.get(), 1 << 20);
  std::atomic<bool> done = false;
  int lost = 0;
  std::thread reader([&] {
    for (uint64_t next = 0; next < kRecords && !done;) {
      if (log.Find(next) != nullptr) {
        ++next;
        continue;
      }
      const UpdateLog::Range range = log.range();
      if (range.empty || next > range.newest) continue;
      if (log.Find(next) == nullptr) ++lost;
    }
  });
  std::string previous;
  for (uint64_t version = 0; version < kRecords; ++version) {
    v1::UpdatePart part;
    part.set_version(version);
    part.mutable_header()->set_previous_chain_hash(previous);
    const auto record = Seal(version, {part});
    const absl::Status status = log.Append(record);
    EXPECT_TRUE(status.ok()) << status;
    if (!status.ok()) break;
    previous = std::string(AsView(record->chain_hash));
  }
  done = true;
  reader.join();
  EXPECT_EQ(lost, 0);
}

TEST_F(UpdateLogTest, WhatAnEarlierProcessHasWrittenIsThere) {
  {
    UpdateLog log(store_.get(), 1 << 20);
    Fill(&log, 0, 7);
  }
  store_.reset();
  auto again = LogStore::Open({.folder = folder_, .schema_hash = 5});
  ASSERT_TRUE(again.ok()) << again.status();
  UpdateLog log(again->get(), 1 << 20);
  EXPECT_EQ(log.range().newest, 6U);
  ASSERT_NE(log.Find(6), nullptr);
  EXPECT_EQ(log.Find(6)->parts, records_[6]->parts);
  Fill(&log, 7, 9);
  ASSERT_NE(log.Find(3), nullptr);
  EXPECT_EQ(log.Find(8)->parts, records_[8]->parts);
}

TEST_F(UpdateLogTest, TrimsWholeSegmentsAndKeepsTheNewest) {
  UpdateLog log(store_.get(), 1 << 20);
  Fill(&log, 0, 5);
  store_->Roll();
  Fill(&log, 5, 10);
  EXPECT_TRUE(log.TrimBelow(4).ok());
  EXPECT_EQ(log.range().oldest, 0U);
  EXPECT_TRUE(log.TrimBelow(5).ok());
  EXPECT_EQ(log.range().oldest, 5U);
  EXPECT_EQ(log.Find(4), nullptr);
  ASSERT_NE(log.Find(5), nullptr);
  EXPECT_TRUE(log.TrimBelow(1000).ok());
  EXPECT_EQ(log.range().newest, 9U);
  Fill(&log, 10, 12);
}

}  // namespace
}  // namespace gradwire
