// SPDX-License-Identifier: Apache-2.0
// The log takes records in order, finds them, and gives up only what a snapshot covers.
#include "common/replica/update_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

constexpr size_t kRecordBytes = 10;

void Fill(UpdateLog* log, uint64_t records) {
  for (uint64_t version = 0; version < records; ++version) {
    ASSERT_TRUE(log->Append(MakeRecord(version, {std::string(kRecordBytes, 'x')})).ok());
  }
}

TEST(RecordTest, KnowsItsBytesAndItsHash) {
  const auto record = MakeRecord(7, {"ab", "", "c"}, 2);
  EXPECT_EQ(record->version, 7U);
  EXPECT_EQ(record->bytes, 3U);
  EXPECT_EQ(record->payload_bytes, 2U);
  // Published: XXH128("abc").
  EXPECT_EQ(HashText(record->chain_hash), "06b05ab6733a618578af5f94892f3950");
}

TEST(UpdateLogTest, TakesOnlyTheNextRecord) {
  UpdateLog log;
  const absl::Status first = log.Append(MakeRecord(1, {"x"}));
  EXPECT_EQ(first.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(first.message()), HasSubstr("record 1 does not follow"));
  Fill(&log, 3);
  for (const uint64_t version : {0, 2, 4}) {
    const absl::Status status = log.Append(MakeRecord(version, {"x"}));
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << version;
    EXPECT_THAT(std::string(status.message()), HasSubstr("the log's next is 3"));
  }
  EXPECT_EQ(log.range().newest, 2U);
}

TEST(UpdateLogTest, FindsWhatItHolds) {
  UpdateLog log;
  EXPECT_EQ(log.Find(0), nullptr);
  EXPECT_TRUE(log.range().empty);
  Fill(&log, 5);
  log.Trim(1, 0);
  for (uint64_t version = 0; version < 7; ++version) {
    const auto record = log.Find(version);
    if (version < 2 || version > 4) {
      EXPECT_EQ(record, nullptr) << version;
    } else {
      ASSERT_NE(record, nullptr) << version;
      EXPECT_EQ(record->version, version);
    }
  }
}

TEST(UpdateLogTest, TrimsNoMoreThanItMust) {
  const struct {
    uint64_t snapshot;
    size_t max_bytes;
    uint64_t oldest;
  } cases[] = {
      {9, 100, 0},               // there is room
      {9, 99, 1},                // one must go
      {9, 50, 5},   {2, 50, 3},  // no more than the snapshot covers
      {0, 0, 1},    {9, 0, 9},   // the newest stays
      {1000, 0, 9},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.snapshot, " ", c.max_bytes));
    UpdateLog log;
    Fill(&log, 10);
    log.Trim(c.snapshot, c.max_bytes);
    EXPECT_EQ(log.range().oldest, c.oldest);
    EXPECT_EQ(log.range().newest, 9U);
    EXPECT_EQ(log.range().bytes, (10 - c.oldest) * kRecordBytes);
    EXPECT_TRUE(log.Append(MakeRecord(10, {"x"})).ok());
  }
}

TEST(UpdateLogTest, TrimOfAnEmptyLogDoesNothing) {
  UpdateLog log;
  log.Trim(5, 0);
  EXPECT_TRUE(log.range().empty);
}

}  // namespace
}  // namespace gradwire
