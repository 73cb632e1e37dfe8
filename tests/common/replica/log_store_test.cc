// SPDX-License-Identifier: Apache-2.0
// The log on disk keeps records in order, gives up only what it is told to, and waits for space.
#include "common/replica/log_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "common/replica/log_segment.h"
#include "tests/common/replica/log_store_fixture.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

TEST(FsyncPolicyTest, ParsesTheThreePolicies) {
  EXPECT_EQ(ParseFsyncPolicy("always")->kind, FsyncPolicy::Kind::kAlways);
  EXPECT_EQ(ParseFsyncPolicy("never")->kind, FsyncPolicy::Kind::kNever);
  const auto policy = ParseFsyncPolicy("interval:100ms");
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->kind, FsyncPolicy::Kind::kInterval);
  EXPECT_EQ(policy->interval, absl::Milliseconds(100));
  for (const char* wrong : {"", "Always", "interval", "interval:", "interval:5", "interval:0s",
                            "interval:-1s", "interval:inf", "interval:2h", "never:1s", "always "}) {
    const absl::Status status = ParseFsyncPolicy(wrong).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << wrong;
    EXPECT_THAT(std::string(status.message()), HasSubstr("always, never, or interval:DURATION"));
  }
}

TEST_F(LogStoreTest, KeepsRecordsOverARestart) {
  const Chain chain = MakeChain(7);
  ExpectRecords(*MustOpen(), chain, 0, 0);
  WriteLog(chain, {3});
  const auto store = MustOpen();
  ExpectRecords(*store, chain, 0, 7);
  EXPECT_FALSE(store->cut().has_value());
  EXPECT_THAT(*disk_.List(kFolder), testing::ElementsAre("000000000000.log", "000000000003.log"));
}

TEST_F(LogStoreTest, TakesOnlyTheRecordThatFollows) {
  const Chain chain = MakeChain(4);
  const auto store = MustOpen();
  EXPECT_EQ(store->Append(*chain[1]).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(store->Append(*chain[0]).ok());
  ASSERT_TRUE(store->Append(*chain[1]).ok());
  const Chain other = MakeChain(4, 3, 'b');
  for (const auto& wrong : {chain[0], chain[1], chain[3], other[2]}) {
    const absl::Status status = store->Append(*wrong);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << wrong->version;
    EXPECT_THAT(std::string(status.message()), HasSubstr("does not follow"));
  }
  ASSERT_TRUE(store->Append(*chain[2]).ok());
  ExpectRecords(*store, chain, 0, 3);
}

TEST_F(LogStoreTest, BeginsASegmentWhenOneIsFull) {
  const Chain chain = MakeChain(20, 50);
  options_.segment_bytes = 1000;
  WriteLog(chain);
  EXPECT_GT(disk_.List(kFolder)->size(), 3U);
  const auto names = disk_.List(kFolder);
  for (const std::string& name : *names) {
    EXPECT_LE(*disk_.Size(std::string(kFolder) + "/" + name), 1000U);
  }
  options_.segment_bytes = 1;  // one record a segment
  {
    const auto store = MustOpen();
    ASSERT_TRUE(store->Append(*MakeNextRecord(chain.back().get())).ok());
    ASSERT_TRUE(store->Append(*MakeNextRecord(store->Read(20)->get())).ok());
  }
  ASSERT_TRUE(disk_.Size("/state/log/000000000020.log").ok());
  ASSERT_TRUE(disk_.Size("/state/log/000000000021.log").ok());
  EXPECT_EQ(MustOpen()->next_version(), 22U);
}

// Against a model: the chain, where each segment begins, and what has been dropped.
TEST_F(LogStoreTest, DoesAsItsModelDoes) {
  const Chain chain = MakeChain(300);
  std::mt19937 random(7);
  auto store = MustOpen();
  uint64_t next = 0;
  bool roll = true;
  std::vector<uint64_t> begins;  // of segments
  while (next < chain.size()) {
    switch (random() % 8) {
      case 0:
        store->Roll();
        roll = true;
        break;
      case 1: {
        const uint64_t version = random() % (next + 3);
        ASSERT_TRUE(store->TrimBelow(version).ok());
        while (begins.size() > 1 && begins[1] <= version) begins.erase(begins.begin());
        break;
      }
      case 2:
        store = nullptr;
        store = MustOpen();
        roll = roll && begins.empty();  // a new process goes on where the log ends
        break;
      default:
        ASSERT_TRUE(store->Append(*chain[next]).ok());
        if (roll) begins.push_back(next);
        roll = false;
        ++next;
    }
    ASSERT_EQ(disk_.List(kFolder)->size(), begins.size());
    const uint64_t oldest = begins.empty() ? 0 : begins[0];
    ASSERT_EQ(store->range().oldest, oldest);
    ASSERT_EQ(store->next_version(), next);
    uint64_t bytes = 0;
    for (const uint64_t begin : begins) bytes += *disk_.Size(SegmentPath(kFolder, begin));
    ASSERT_EQ(store->bytes(), bytes);
    if (random() % 16 == 0) ExpectRecords(*store, chain, oldest, next);
  }
}

TEST_F(LogStoreTest, NeverDropsTheNewestSegment) {
  const Chain chain = MakeChain(6);
  WriteLog(chain, {2, 4});
  const auto store = MustOpen();
  ASSERT_TRUE(store->TrimBelow(1000).ok());
  ExpectRecords(*store, chain, 4, 6);
}

TEST_F(LogStoreTest, BeginsAfterASnapshotThatIsNewerThanTheLog) {
  const Chain chain = MakeChain(12);
  WriteLog(Chain(chain.begin(), chain.begin() + 5), {2});
  {
    const auto store = MustOpen();
    EXPECT_EQ(store->BeginAt(3, chain[3]->chain_hash).code(),
              absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(store->BeginAt(4, chain[4]->chain_hash).code(),
              absl::StatusCode::kFailedPrecondition);
    ASSERT_TRUE(store->BeginAt(8, chain[8]->chain_hash).ok());
    EXPECT_TRUE(store->range().empty);
    EXPECT_EQ(store->bytes(), 0U);
    EXPECT_FALSE(store->Append(*chain[8]).ok());
    ASSERT_TRUE(store->Append(*chain[9]).ok());
    ASSERT_TRUE(store->Append(*chain[10]).ok());
  }
  ExpectRecords(*MustOpen(), chain, 9, 11);
}

TEST_F(LogStoreTest, OrdersSegmentsByNumberNotByName) {
  Record snapshot;
  snapshot.version = 999'999'999'997;
  const auto first = MakeNextRecord(&snapshot);
  const auto second = MakeNextRecord(first.get());
  const auto third = MakeNextRecord(second.get());
  {
    const auto store = MustOpen();
    ASSERT_TRUE(store->BeginAt(snapshot.version, snapshot.chain_hash).ok());
    ASSERT_TRUE(store->Append(*first).ok());
    ASSERT_TRUE(store->Append(*second).ok());
    store->Roll();
    ASSERT_TRUE(store->Append(*third).ok());
  }
  EXPECT_THAT(*disk_.List(kFolder), testing::ElementsAre("1000000000000.log", "999999999998.log"));
  EXPECT_TRUE(Same(**MustOpen()->Read(1'000'000'000'000), *third));
}

TEST_F(LogStoreTest, SyncsAsOftenAsItsPolicySays) {
  const Chain chain = MakeChain(10);
  const struct {
    const char* policy;
    size_t after_appends;  // syncs beside that of the segment's first record
    size_t after_sync;
  } cases[] = {{"always", 9, 9}, {"interval:1s", 0, 1}, {"never", 0, 1}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.policy);
    CrashingFileSystem disk;
    options_.files = &disk;
    options_.fsync = *ParseFsyncPolicy(c.policy);
    const auto store = MustOpen();
    ASSERT_TRUE(store->Append(*chain[0]).ok());
    const size_t before = disk.syncs();
    for (size_t i = 1; i < chain.size(); ++i) ASSERT_TRUE(store->Append(*chain[i]).ok());
    EXPECT_EQ(disk.syncs() - before, c.after_appends);
    for (int i = 0; i < 2; ++i) {  // the second has nothing to do
      ASSERT_TRUE(store->Sync().ok());
      EXPECT_EQ(disk.syncs() - before, c.after_sync);
    }
  }
}

TEST_F(LogStoreTest, SyncsWhenTheIntervalHasPassed) {
  const Chain chain = MakeChain(10);
  options_.fsync = *ParseFsyncPolicy("interval:100ms");
  const auto store = MustOpen();
  size_t next = 0;
  const auto syncs_at = [&](int milliseconds, bool append) {
    if (append) {
      EXPECT_TRUE(store->Append(*chain[next++]).ok());
    }
    const size_t before = disk_.syncs();
    EXPECT_TRUE(store->SyncDue(absl::Milliseconds(milliseconds)).ok());
    return disk_.syncs() - before;
  };
  EXPECT_EQ(syncs_at(5000, true), 0U);  // a segment's first record is synced with it
  EXPECT_EQ(syncs_at(5001, true), 1U);
  EXPECT_EQ(syncs_at(5002, true), 0U);
  EXPECT_EQ(syncs_at(5100, false), 0U);
  EXPECT_EQ(syncs_at(5101, false), 1U);
  EXPECT_EQ(syncs_at(9000, false), 0U);  // nothing new
  EXPECT_EQ(syncs_at(9001, true), 1U);
}

// Every byte of a log of three segments is cut or lost: what is found is a prefix, or the place is
// named, and then nothing was changed.
// A later segment stands for all from its first version on, whatever is before it.
TEST_F(LogStoreTest, WaitsForSpaceWithTheLogWhole) {
  const Chain chain = MakeChain(8);
  for (size_t full_at = 0; full_at < chain.size(); ++full_at) {
    for (uint64_t space = 0; space < EncodeRecord(*chain[full_at]).size(); space += 7) {
      SCOPED_TRACE(testing::Message() << full_at << " " << space);
      CrashingFileSystem disk;
      options_.files = &disk;
      const auto store = MustOpen();
      for (size_t i = 0; i < full_at; ++i) ASSERT_TRUE(store->Append(*chain[i]).ok());
      const uint64_t bytes = store->bytes();
      disk.SetSpace(space);
      for (int i = 0; i < 2; ++i) {
        const absl::Status status = store->Append(*chain[full_at]);
        ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
        ASSERT_THAT(std::string(status.message()), HasSubstr(kFolder));
        ASSERT_THAT(std::string(status.message()), HasSubstr("bytes"));
      }
      ASSERT_EQ(store->bytes(), bytes);
      ExpectRecords(*store, chain, 0, full_at);
      const auto killed = disk.AfterKill();
      disk.SetSpace(std::nullopt);
      for (size_t i = full_at; i < chain.size(); ++i) ASSERT_TRUE(store->Append(*chain[i]).ok());
      ExpectRecords(*store, chain, 0, chain.size());
      options_.files = killed.get();
      const auto after_kill = MustOpen();
      EXPECT_FALSE(after_kill->cut().has_value());
      ExpectRecords(*after_kill, chain, 0, full_at);
    }
  }
}

TEST_F(LogStoreTest, ReadsAreVerified) {
  const Chain chain = MakeChain(3);
  const auto store = MustOpen();
  for (const auto& record : chain) ASSERT_TRUE(store->Append(*record).ok());
  const std::string path = SegmentPath(kFolder, 0);
  ASSERT_TRUE((*disk_.OpenToAppend(path))->WriteAt(*disk_.Size(path) - 1, "!").ok());
  EXPECT_TRUE(store->Read(1).ok());
  absl::Status status = store->Read(2).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path + ": at offset "));
  ASSERT_TRUE((*disk_.OpenToAppend(path))->Truncate(100).ok());
  EXPECT_EQ(store->Read(1).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(LogStoreTest, ReadersAndAWriterDoNotDisturbOneAnother) {
  const Chain chain = MakeChain(200);
  const auto store = MustOpen();
  ASSERT_TRUE(store->Append(*chain[0]).ok());
  std::atomic<bool> done = false;
  std::atomic<size_t> wrong = 0;
  std::vector<std::thread> readers;
  for (unsigned i = 0; i < 2; ++i) {
    readers.emplace_back([&, i] {
      std::mt19937 random(i);
      while (!done) {
        const LogStore::Range range = store->range();
        const uint64_t version = range.oldest + random() % (range.newest - range.oldest + 1);
        const auto record = store->Read(version);
        const bool trimmed = absl::IsNotFound(record.status());
        if (!trimmed && (!record.ok() || !Same(**record, *chain[version]))) ++wrong;
      }
    });
  }
  for (size_t i = 1; i < chain.size(); ++i) {
    if (i % 10 == 0) store->Roll();
    EXPECT_TRUE(store->Append(*chain[i]).ok());
    if (i > 50) {
      EXPECT_TRUE(store->TrimBelow(i - 50).ok());
    }
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0U);
}

}  // namespace
}  // namespace gradwire
