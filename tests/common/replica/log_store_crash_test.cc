// SPDX-License-Identifier: Apache-2.0
// Whatever crashes when: what the log has afterwards is a prefix, and all that was promised.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/replica/log_segment.h"
#include "common/replica/log_store.h"
#include "tests/common/replica/log_store_fixture.h"

namespace gradwire {
namespace {

constexpr const char* kPolicies[] = {"always", "interval:1ms", "never"};

class LogStoreCrashTest : public testing::Test {
 protected:
  LogStoreCrashTest() : chain_(MakeChain(9)) {}

  LogStoreOptions Options(FileSystem* disk) const {
    return {.files = disk,
            .folder = kFolder,
            .schema_hash = kSchema,
            .fsync = *ParseFsyncPolicy(policy_),
            .segment_bytes = 500};  // about three records
  }
  bool always() const { return std::string(policy_) == "always"; }

  // Appends from where the log is to the chain's end, or to the first error; a snapshot makes it
  // roll before version 4.  Notes what was promised.
  void AppendAll(CrashingFileSystem* disk) {
    auto store = LogStore::Open(Options(disk));
    if (!store.ok()) return;
    found_ = (*store)->next_version();
    promised_ = std::max<uint64_t>(promised_, always() ? found_ : 0);
    for (uint64_t version = found_; version < chain_.size(); ++version) {
      if (version == 4) (*store)->Roll();
      if (!(*store)->Append(*chain_[version]).ok()) return;
      appended_ = std::max(appended_, version + 1);
      if (always()) promised_ = std::max(promised_, version + 1);
      if (std::string(policy_) == "interval:1ms" && version % 3 == 2) {
        if (!(*store)->SyncDue(absl::Milliseconds(version)).ok()) return;
        promised_ = std::max(promised_, version + 1);
      }
    }
  }
  void Reset() { found_ = appended_ = promised_ = 0; }

  // What is found is a prefix with all that was promised, and can be continued.
  void ExpectPrefix(CrashingFileSystem* disk, uint64_t promised) {
    auto store = LogStore::Open(Options(disk));
    ASSERT_TRUE(store.ok()) << store.status();
    const uint64_t next = (*store)->next_version();
    ASSERT_GE(next, promised);
    ASSERT_NO_FATAL_FAILURE(ExpectRecords(**store, chain_, 0, next));
    for (uint64_t version = next; version < chain_.size(); ++version) {
      ASSERT_TRUE((*store)->Append(*chain_[version]).ok());
    }
    store->reset();
    store = LogStore::Open(Options(disk));
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_NO_FATAL_FAILURE(ExpectRecords(**store, chain_, 0, chain_.size()));
  }

  const char* policy_ = "always";
  const Chain chain_;
  // Of the run so far, as next versions: what Open found, what Append took, what has to be there
  // after a power cut.
  uint64_t found_ = 0;
  uint64_t appended_ = 0;
  uint64_t promised_ = 0;
};

TEST_F(LogStoreCrashTest, HasWhatWasPromisedAfterEveryCrash) {
  for (const char* policy : kPolicies) {
    policy_ = policy;
    size_t checked = 0;
    ForEveryCrash(
        [this](CrashingFileSystem* disk) {
          Reset();
          AppendAll(disk);
        },
        [this, &checked](const Crash& crash) {
          SCOPED_TRACE(testing::Message() << policy_ << ": " << crash.text);
          ++checked;
          ExpectPrefix(crash.disk.get(), crash.power_cut ? promised_ : appended_);
        });
    if (HasFatalFailure()) return;
    EXPECT_GT(checked, 200U);
  }
}

// The second process is told what the first had written; it may show that to others, so the power
// cut that follows must not take it back.
TEST_F(LogStoreCrashTest, WhatIsFoundAfterAKillIsThereAfterAPowerCut) {
  ForEveryCrash(
      [this](CrashingFileSystem* disk) {
        Reset();
        AppendAll(disk);
      },
      [this](const Crash& crash) {
        if (crash.power_cut) return;
        SCOPED_TRACE(crash.text);
        const auto store = LogStore::Open(Options(crash.disk.get()));
        ASSERT_TRUE(store.ok()) << store.status();
        const uint64_t found = (*store)->next_version();
        ASSERT_GE(found, appended_);
        for (const auto& cut : crash.disk->PowerCuts()) {
          ExpectPrefix(crash.disk->AfterPowerCut(cut).get(), found);
        }
      });
}

// Crashes while a process recovers from a crash.
TEST_F(LogStoreCrashTest, RecoveryMayCrashToo) {
  for (const char* policy : kPolicies) {
    policy_ = policy;
    ForEveryCrash(
        [this](CrashingFileSystem* disk) {
          Reset();
          {  // A torn record at the end, and what a killed process leaves of a segment.
            const auto store = LogStore::Open(Options(disk));
            for (size_t i = 0; store.ok() && i < 5; ++i) {
              if (!(*store)->Append(*chain_[i]).ok()) return;
              appended_ = promised_ = i + 1;
            }
          }
          if (!disk->Size(SegmentPath(kFolder, 4)).ok()) return;
          const auto tail = disk->OpenToAppend(SegmentPath(kFolder, 4));
          if (!(*tail)->Append(EncodeRecord(*chain_[5]).substr(0, 90)).ok()) return;
          if (!disk->Create(SegmentPath(kFolder, 5)).ok()) return;
          if (!disk->Create(PartialSegmentPath(SegmentPath(kFolder, 6))).ok()) return;
          AppendAll(disk);
        },
        [this](const Crash& crash) {
          SCOPED_TRACE(testing::Message() << policy_ << ": " << crash.text);
          const bool sure = !crash.power_cut || always();
          ExpectPrefix(crash.disk.get(), sure ? std::max(promised_, appended_) : 0);
        });
    if (HasFatalFailure()) return;
  }
}

// Every sync fails in turn, then the process crashes at every place behind it.
TEST_F(LogStoreCrashTest, AFailedSyncLosesNothing) {
  for (const char* policy : kPolicies) {
    policy_ = policy;
    CrashingFileSystem whole;
    Reset();
    AppendAll(&whole);
    for (size_t sync = 0; sync < whole.syncs(); ++sync) {
      ForEveryCrash(
          [this, sync](CrashingFileSystem* disk) {
            disk->FailSyncAt(sync);
            Reset();
            AppendAll(disk);
          },
          [this, sync](const Crash& crash) {
            SCOPED_TRACE(testing::Message() << policy_ << ", sync " << sync << ": " << crash.text);
            ExpectPrefix(crash.disk.get(), crash.power_cut ? promised_ : appended_);
          });
      if (HasFatalFailure()) return;
    }
  }
}

// A failed sync must not end the job where another file can be written.
TEST_F(LogStoreCrashTest, GoesOnInAnotherFileAfterAFailedSync) {
  for (const char* policy : kPolicies) {
    policy_ = policy;
    SCOPED_TRACE(policy);
    CrashingFileSystem disk;
    const auto store = LogStore::Open(Options(&disk));
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE((*store)->Append(*chain_[0]).ok());
    disk.FailSyncAt(disk.syncs());
    ASSERT_TRUE((*store)->Append(*chain_[1]).ok());
    ASSERT_TRUE((*store)->Sync().ok());
    EXPECT_EQ(*disk.List(kFolder),
              (std::vector<std::string>{"000000000000.log", "000000000001.log"}));
    const size_t syncs = disk.syncs();
    ASSERT_TRUE((*store)->Sync().ok());
    EXPECT_EQ(disk.syncs(), syncs);  // nothing is synced twice
    ExpectRecords(**store, chain_, 0, 2);
    for (const auto& cut : disk.PowerCuts()) ExpectPrefix(disk.AfterPowerCut(cut).get(), 2);
  }
}

TEST_F(LogStoreCrashTest, AFailedFolderSyncIsAnErrorThatCanBeTriedAgain) {
  CrashingFileSystem whole;
  AppendAll(&whole);
  for (size_t sync = 0; sync < whole.folder_syncs(); ++sync) {
    ForEveryCrash(
        [this, sync](CrashingFileSystem* disk) {
          disk->FailFolderSyncAt(sync);
          Reset();
          AppendAll(disk);
          AppendAll(disk);
        },
        [this, sync](const Crash& crash) {
          SCOPED_TRACE(testing::Message() << "folder sync " << sync << ": " << crash.text);
          ExpectPrefix(crash.disk.get(), promised_);
        });
    if (HasFatalFailure()) return;
  }
}

// The segment that could not be made to last is there under its name, with a record that another
// one takes the place of.
TEST_F(LogStoreCrashTest, ASegmentThatFailedLateDoesNotComeBack) {
  CrashingFileSystem disk;
  LogStoreOptions options = Options(&disk);
  const auto first = MakeNextRecord(nullptr);
  const auto large = MakeNextRecord(first.get(), options.segment_bytes);
  const auto small = MakeNextRecord(first.get(), 3, 'b');
  {
    const auto store = LogStore::Open(options);
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE((*store)->Append(*first).ok());
    disk.FailFolderSyncAt(disk.folder_syncs());
    EXPECT_FALSE((*store)->Append(*large).ok());
    ASSERT_TRUE((*store)->Append(*small).ok());
  }
  const auto store = LogStore::Open(options);
  ASSERT_TRUE(store.ok()) << store.status();
  ExpectRecords(**store, {first, small}, 0, 2);
}

// Sync fails, and there is no room for another file.  A restart must not take for kept what the
// page cache has and the disk has not.
TEST_F(LogStoreCrashTest, WhenNeitherSyncNorANewFileWorksTheRecordIsNotThere) {
  CrashingFileSystem disk;
  auto store = LogStore::Open(Options(&disk));
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_TRUE((*store)->Append(*chain_[0]).ok());
  disk.FailSyncAt(disk.syncs());
  disk.SetSpace(EncodeRecord(*chain_[1]).size());
  EXPECT_EQ((*store)->Append(*chain_[1]).code(), absl::StatusCode::kResourceExhausted);
  const auto killed = disk.AfterKill();
  {
    const auto again = LogStore::Open(Options(killed.get()));
    ASSERT_TRUE(again.ok()) << again.status();
    ExpectRecords(**again, chain_, 0, 1);
  }
  // Or with room again, in the same process, even for another record of that version.
  disk.SetSpace(std::nullopt);
  const Chain other = {chain_[0], MakeNextRecord(chain_[0].get(), 3, 'b')};
  ASSERT_TRUE((*store)->Append(*other[1]).ok());
  EXPECT_EQ(disk.List(kFolder)->size(), 2U);  // the first file is not written again
  store->reset();
  for (const auto& cut : disk.PowerCuts()) {
    const auto after = disk.AfterPowerCut(cut);
    const auto again = LogStore::Open(Options(after.get()));
    ASSERT_TRUE(again.ok()) << again.status();
    ExpectRecords(**again, other, 0, 2);
  }
}

TEST_F(LogStoreCrashTest, TrimmedSegmentsAreGoneForGoodAndTheRestIsWhole) {
  uint64_t trimmed = 0;
  ForEveryCrash(
      [this, &trimmed](CrashingFileSystem* disk) {
        Reset();
        trimmed = 0;
        AppendAll(disk);
        const auto store = LogStore::Open(Options(disk));
        if (store.ok() && (*store)->TrimBelow(7).ok()) trimmed = (*store)->range().oldest;
      },
      [this, &trimmed](const Crash& crash) {
        SCOPED_TRACE(crash.text);
        const auto store = LogStore::Open(Options(crash.disk.get()));
        ASSERT_TRUE(store.ok()) << store.status();
        const auto range = (*store)->range();
        ASSERT_GE((*store)->next_version(), crash.power_cut ? promised_ : appended_);
        ASSERT_LE(range.oldest, 7U);
        ASSERT_GE(range.oldest, trimmed);
        ExpectRecords(**store, chain_, range.oldest, (*store)->next_version());
      });
}

// A snapshot of version 6 is there, the log ends at 3.
TEST_F(LogStoreCrashTest, ALogThatBeginsAfterASnapshotIsOldOrNew) {
  ForEveryCrash(
      [this](CrashingFileSystem* disk) {
        Reset();
        const auto store = LogStore::Open(Options(disk));
        for (size_t i = 0; store.ok() && i < 4; ++i) {
          if (!(*store)->Append(*chain_[i]).ok()) return;
        }
        if (!store.ok() || !(*store)->BeginAt(6, chain_[6]->chain_hash).ok()) return;
        for (size_t i = 7; i < chain_.size(); ++i) {
          if (!(*store)->Append(*chain_[i]).ok()) return;
          promised_ = i + 1;
        }
      },
      [this](const Crash& crash) {
        SCOPED_TRACE(crash.text);
        const auto store = LogStore::Open(Options(crash.disk.get()));
        ASSERT_TRUE(store.ok()) << store.status();
        ASSERT_GE((*store)->next_version(), promised_);
        const auto range = (*store)->range();
        ExpectRecords(**store, chain_, range.oldest, (*store)->next_version());
        if ((*store)->next_version() < 7) {
          ASSERT_TRUE((*store)->BeginAt(6, chain_[6]->chain_hash).ok());
          ASSERT_TRUE((*store)->Append(*chain_[7]).ok());
        }
      });
}

}  // namespace
}  // namespace gradwire
