// SPDX-License-Identifier: Apache-2.0
// A worker's saved states over a kill or a power cut at every moment of saving.
#include "tests/common/replica/crashing_file_system.h"
#include "tests/worker/client/history.h"

namespace gradwire {
namespace {

constexpr char kWorker[] = "w1";
constexpr char kFolder[] = "/state";
constexpr uint64_t kSchema = 0x1234;

WorkerState StateOf(uint64_t version) {
  WorkerState state = {.version = version, .incarnation = 1};
  state.chain_hash.fill(static_cast<char>(version / 100));
  state.memory.memory.residual.assign(40, static_cast<float>(version));
  return state;
}

auto Open(FileSystem* files) {
  return WorkerStateStore::Open({.state_dir = kFolder, .worker_id = kWorker, .files = files});
}

// Every file that is there under a state's name is whole.
void ExpectWhole(const WorkerStateStore& store, CrashingFileSystem* disk) {
  size_t states = 0;
  const auto names = disk->List(store.folder());
  ASSERT_TRUE(names.ok()) << names.status();
  for (const std::string& name : *names) {
    states += testing::Matches(testing::EndsWith(".state"))(name);
  }
  EXPECT_EQ(store.points().size(), states);
  for (const WorkerStateStore::Point& point : store.points()) {
    const auto loaded = store.Load(point.version);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->chain_hash, StateOf(point.version).chain_hash);
    ExpectSameMemory(loaded->memory, StateOf(point.version).memory);
  }
}

TEST(WorkerStateCrashTest, WhatWasSavedIsThereAndAlwaysWhole) {
  uint64_t saved = 0;   // the newest that Save said is kept
  uint64_t wanted = 0;  // the newest that it was asked to keep
  bool opened = false;
  ForEveryCrash(
      [&](CrashingFileSystem* disk) {
        saved = wanted = 0;
        auto store = Open(disk);
        opened = store.ok();
        if (!opened) return;
        for (const uint64_t version : {100, 200, 300, 400}) {
          wanted = version;
          if (!(*store)->Save(kSchema, StateOf(version)).ok()) return;
          saved = version;
        }
      },
      [&](const Crash& crash) {
        SCOPED_TRACE(crash.text);
        if (opened) {
          EXPECT_EQ(*SavedWorkerId(kFolder, crash.disk.get()), kWorker);
        }
        const auto store = Open(crash.disk.get());
        ASSERT_TRUE(store.ok()) << store.status();
        ExpectWhole(**store, crash.disk.get());
        const auto points = (*store)->points();
        const uint64_t newest = points.empty() ? 0 : points[0].version;
        EXPECT_GE(newest, saved);
        EXPECT_LE(newest, wanted);
        // The one before stays until there is another.
        if (saved >= 200) {
          EXPECT_TRUE((*store)->Has(newest - 100));
        }
      });
}

// After a reset the older states lead to another residual: none of them may come back.
TEST(WorkerStateCrashTest, WhatWasRemovedDoesNotComeBack) {
  for (const bool all : {true, false}) {
    SCOPED_TRACE(all);
    bool removed = false;
    ForEveryCrash(
        [&](CrashingFileSystem* disk) {
          removed = false;
          const auto store = Open(disk);
          if (!store.ok()) return;
          for (const uint64_t version : {100, 200}) {
            if (!(*store)->Save(kSchema, StateOf(version)).ok()) return;
          }
          removed = all ? (*store)->RemoveAll().ok() : (*store)->RemoveAfter(150).ok();
        },
        [&](const Crash& crash) {
          SCOPED_TRACE(crash.text);
          const auto store = Open(crash.disk.get());
          ASSERT_TRUE(store.ok()) << store.status();
          ExpectWhole(**store, crash.disk.get());
          if (!removed) return;
          EXPECT_FALSE((*store)->Has(200));
          EXPECT_EQ((*store)->Has(100), !all);
        });
  }
}

TEST(WorkerStateCrashTest, ADiskThatIsFullOrFailsLeavesWhatWasSaved) {
  CrashingFileSystem disk;
  {
    const auto store = Open(&disk);
    ASSERT_TRUE((*store)->Save(kSchema, StateOf(100)).ok());
    ASSERT_TRUE((*store)->Save(kSchema, StateOf(200)).ok());
    disk.SetSpace(50);
    const absl::Status full = (*store)->Save(kSchema, StateOf(300));
    EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(full.message(), testing::HasSubstr(kFolder));
    disk.SetSpace(std::nullopt);
    disk.FailSyncAt(disk.syncs());
    EXPECT_FALSE((*store)->Save(kSchema, StateOf(300)).ok());
    EXPECT_EQ((*store)->points()[0].version, 200);
  }
  const auto store = Open(&disk);
  EXPECT_TRUE((*store)->Has(100));
  EXPECT_TRUE((*store)->Has(200));
  ExpectWhole(**store, &disk);
  EXPECT_TRUE((*store)->Save(kSchema, StateOf(300)).ok());
  EXPECT_EQ((*store)->points()[0].version, 300);
}

}  // namespace
}  // namespace gradwire
