// SPDX-License-Identifier: Apache-2.0
// A log store on a disk in memory.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include "common/replica/log_store.h"
#include "tests/common/replica/crashing_file_system.h"
#include "tests/common/replica/log_records.h"

namespace gradwire {

inline constexpr uint64_t kSchema = 0x5C4E3A;
inline constexpr char kFolder[] = "/state/log";

class LogStoreTest : public testing::Test {
 protected:
  LogStoreTest() { options_ = {.files = &disk_, .folder = kFolder, .schema_hash = kSchema}; }

  std::unique_ptr<LogStore> MustOpen() {
    auto store = LogStore::Open(options_);
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }
  absl::Status OpenError() { return LogStore::Open(options_).status(); }

  // A log of these records, closed; a segment begins with every version in `rolls`.
  void WriteLog(const Chain& chain, const std::set<uint64_t>& rolls = {}) {
    const auto store = MustOpen();
    for (const auto& record : chain) {
      if (rolls.count(record->version) != 0) store->Roll();
      ASSERT_TRUE(store->Append(*record).ok());
    }
  }
  std::string FileBytes(const std::string& path) { return *disk_.Read(path, size_t{1} << 30); }
  void SetFile(const std::string& path, const std::string& bytes) {
    ASSERT_TRUE((*disk_.Create(path))->Append(bytes).ok());
  }

  CrashingFileSystem disk_;
  LogStoreOptions options_;
};

// That the log has the records [oldest, next) of the chain, and no others.
inline void ExpectRecords(const LogStore& store, const Chain& chain, uint64_t oldest,
                          uint64_t next) {
  ASSERT_EQ(store.next_version(), next);
  ASSERT_EQ(store.range().empty, oldest == next);
  if (oldest == next) return;
  EXPECT_EQ(store.range().oldest, oldest);
  EXPECT_EQ(store.range().newest, next - 1);
  EXPECT_EQ(store.range().newest_chain_hash, chain[next - 1]->chain_hash);
  for (uint64_t version = 0; version < chain.size() + 1; ++version) {
    const auto record = store.Read(version);
    if (version < oldest || version >= next) {
      EXPECT_EQ(record.status().code(), absl::StatusCode::kNotFound) << version;
    } else {
      ASSERT_TRUE(record.ok()) << record.status();
      EXPECT_TRUE(Same(**record, *chain[version])) << version;
    }
  }
}

}  // namespace gradwire
