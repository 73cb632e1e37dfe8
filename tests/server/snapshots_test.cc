// SPDX-License-Identifier: Apache-2.0
// The snapshot files of a state directory: which are kept, and what is read from them.
#include "server/snapshots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "common/replica/snapshot.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kJob[] =
    "model { tensors { tensor { name: 'w' shape: 40 } } } steps: 20 optimizer: 'sgd:0.1,0.9'";

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(SnapshotsTest, KeepsTheNewestTwoAndFindsTheNewestAtOrBelowAVersion) {
  const std::string folder = TestFolder();
  const auto snapshots = Snapshots::Create(folder);
  ASSERT_TRUE(snapshots.ok()) << snapshots.status();
  const auto job = MakeTestJob(kJob);
  EXPECT_EQ((*snapshots)->Newest(100), nullptr);
  for (const uint64_t version : {3, 7, 9}) {
    ASSERT_TRUE((*snapshots)->Save(TrainedReplica(job, version)).ok());
  }
  EXPECT_THAT(FilesIn(folder + "/snapshots"),
              ElementsAre("000000000007.safetensors", "000000000009.safetensors"));
  EXPECT_EQ((*snapshots)->Newest(6), nullptr);
  EXPECT_EQ((*snapshots)->Newest(7)->version, 7u);
  EXPECT_EQ((*snapshots)->Newest(8)->version, 7u);
  EXPECT_EQ((*snapshots)->Newest(9)->version, 9u);
  EXPECT_EQ((*snapshots)->Newest(UINT64_MAX)->version, 9u);
}

TEST(SnapshotsTest, WhatIsReadBackIsTheReplica) {
  const auto snapshots = Snapshots::Create(TestFolder());
  ASSERT_TRUE(snapshots.ok());
  const auto job = MakeTestJob(kJob);
  const Replica replica = TrainedReplica(job, 5);
  ASSERT_TRUE((*snapshots)->Save(replica).ok());
  const Snapshots::File& file = *(*snapshots)->Newest(5);
  EXPECT_EQ(file.chain_hash, replica.chain_hash());
  const auto bytes = Snapshots::Read(*job, file, true);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  auto contents = DecodeSnapshot(*job, *bytes);
  ASSERT_TRUE(contents.ok()) << contents.status();
  Replica copy(job);
  ASSERT_TRUE(copy.Load(*std::move(contents)).ok());
  EXPECT_EQ(copy.Hash(), replica.Hash());
  EXPECT_EQ(copy.version(), 5u);
  EXPECT_EQ(copy.chain_hash(), replica.chain_hash());
}

TEST(SnapshotsTest, WithoutStateTheFileHasTheTensorsAlone) {
  const std::string folder = TestFolder();
  const auto snapshots = Snapshots::Create(folder);
  ASSERT_TRUE(snapshots.ok());
  const auto job = MakeTestJob(kJob);
  const Replica replica = TrainedReplica(job, 5);
  ASSERT_TRUE((*snapshots)->Save(replica).ok());
  ASSERT_TRUE((*snapshots)->SaveFinal(replica).ok());
  const auto with = Snapshots::Read(*job, *(*snapshots)->Newest(5), true);
  const auto without = Snapshots::Read(*job, *(*snapshots)->Newest(5), false);
  ASSERT_TRUE(with.ok() && without.ok());
  EXPECT_THAT(*with, HasSubstr("optimizer.momentum/w"));
  EXPECT_EQ(without->find("optimizer.momentum"), std::string::npos);
  const auto final_file = ReadFile(folder + "/final.safetensors", 1 << 20);
  ASSERT_TRUE(final_file.ok()) << final_file.status();
  EXPECT_EQ(*final_file, *without);
}

TEST(SnapshotsTest, AFolderThatCannotBeMadeIsNamed) {
  const std::string file = TestFolder() + "/occupied";
  std::ofstream(file) << "a file";
  const auto snapshots = Snapshots::Create(file);
  EXPECT_EQ(snapshots.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(snapshots.status().message()), HasSubstr(file));
}

TEST(SnapshotsTest, AFileThatHasGoneIsAnErrorThatNamesIt) {
  const auto snapshots = Snapshots::Create(TestFolder());
  ASSERT_TRUE(snapshots.ok());
  const auto job = MakeTestJob(kJob);
  ASSERT_TRUE((*snapshots)->Save(TrainedReplica(job, 1)).ok());
  const Snapshots::File file = *(*snapshots)->Newest(1);
  std::filesystem::remove(file.path);
  const auto bytes = Snapshots::Read(*job, file, true);
  ASSERT_FALSE(bytes.ok());
  EXPECT_THAT(std::string(bytes.status().message()), HasSubstr(file.path));
}

}  // namespace
}  // namespace gradwire
