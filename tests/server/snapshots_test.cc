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

absl::StatusOr<std::unique_ptr<Snapshots>> OpenSnapshots(const std::string& folder,
                                                         size_t kept = 2) {
  return Snapshots::Open({.files = PosixFileSystem(), .state_dir = folder, .kept = kept},
                         MakeTestJob(kJob));
}

// All that GetModel sends of it, by chunks of `most` bytes.
absl::StatusOr<std::string> ReadModel(const Snapshots& snapshots, const Snapshots::File& file,
                                      bool with_state, size_t most = 100) {
  const auto model = snapshots.OpenModel(file, with_state);
  if (!model.ok()) return model.status();
  std::string bytes;
  while (bytes.size() < (*model)->size()) {
    const auto chunk = (*model)->Read(bytes.size(), most);
    if (!chunk.ok()) return chunk.status();
    EXPECT_TRUE(!chunk->empty() && chunk->size() <= most) << chunk->size();
    bytes += *chunk;
  }
  return bytes;
}

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(SnapshotsTest, KeepsTheNewestAndWhatIsNeededAndFindsTheNewestAtOrBelowAVersion) {
  const std::string folder = TestFolder();
  const auto snapshots = OpenSnapshots(folder);
  ASSERT_TRUE(snapshots.ok()) << snapshots.status();
  const auto job = MakeTestJob(kJob);
  EXPECT_FALSE((*snapshots)->Newest(100).has_value());
  for (const uint64_t version : {1, 3, 5, 7, 9}) {
    ASSERT_TRUE((*snapshots)->Save(TrainedReplica(job, version), {"state"}).ok());
  }
  (*snapshots)->Retain(4);
  EXPECT_THAT((*snapshots)->versions(), ElementsAre(3, 7, 9));
  EXPECT_EQ((*snapshots)->Newest(6)->version, 3u);
  (*snapshots)->Retain(9);
  EXPECT_THAT(
      FilesIn(folder + "/snapshots"),
      ElementsAre("000000000007.manifest", "000000000007.safetensors", "000000000007.server",
                  "000000000009.manifest", "000000000009.safetensors", "000000000009.server"));
  EXPECT_FALSE((*snapshots)->Newest(6).has_value());
  EXPECT_EQ((*snapshots)->Newest(7)->version, 7u);
  EXPECT_EQ((*snapshots)->Newest(8)->version, 7u);
  EXPECT_EQ((*snapshots)->Newest(9)->version, 9u);
  EXPECT_EQ((*snapshots)->Newest(UINT64_MAX)->version, 9u);
}

TEST(SnapshotsTest, WhatIsReadBackIsTheReplica) {
  const auto snapshots = OpenSnapshots(TestFolder());
  ASSERT_TRUE(snapshots.ok());
  const auto job = MakeTestJob(kJob);
  const Replica replica = TrainedReplica(job, 5);
  ASSERT_TRUE((*snapshots)->Save(replica, {"state"}).ok());
  const Snapshots::File file = *(*snapshots)->Newest(5);
  EXPECT_EQ(file.chain_hash, replica.chain_hash());
  const auto bytes = ReadModel(**snapshots, file, true);
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
  const auto snapshots = OpenSnapshots(folder);
  ASSERT_TRUE(snapshots.ok());
  const auto job = MakeTestJob(kJob);
  const Replica replica = TrainedReplica(job, 5);
  ASSERT_TRUE((*snapshots)->Save(replica, {"state"}).ok());
  ASSERT_TRUE((*snapshots)->SaveFinal(replica).ok());
  const auto with = ReadModel(**snapshots, *(*snapshots)->Newest(5), true);
  const auto without = ReadModel(**snapshots, *(*snapshots)->Newest(5), false);
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
  const auto snapshots = OpenSnapshots(file);
  EXPECT_EQ(snapshots.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(snapshots.status().message()), HasSubstr(file));
}

TEST(SnapshotsTest, AFileThatHasGoneIsAnErrorThatNamesIt) {
  const auto snapshots = OpenSnapshots(TestFolder());
  ASSERT_TRUE(snapshots.ok());
  const auto job = MakeTestJob(kJob);
  ASSERT_TRUE((*snapshots)->Save(TrainedReplica(job, 1), {"state"}).ok());
  const Snapshots::File file = *(*snapshots)->Newest(1);
  std::filesystem::remove(file.path);
  const auto bytes = ReadModel(**snapshots, file, true);
  ASSERT_FALSE(bytes.ok());
  EXPECT_THAT(std::string(bytes.status().message()), HasSubstr(file.path));
}

TEST(SnapshotsTest, WhatIsBeingReadStaysWholeWhenItIsRemoved) {
  const auto snapshots = OpenSnapshots(TestFolder(), 1);
  ASSERT_TRUE(snapshots.ok());
  const auto job = MakeTestJob(kJob);
  ASSERT_TRUE((*snapshots)->Save(TrainedReplica(job, 1), {"state"}).ok());
  const Snapshots::File file = *(*snapshots)->Newest(1);
  const auto whole = ReadFile(file.path, 1 << 20);
  const auto model = (*snapshots)->OpenModel(file, true);
  ASSERT_TRUE(model.ok() && whole.ok());
  ASSERT_TRUE((*snapshots)->Save(TrainedReplica(job, 2), {"state"}).ok());
  (*snapshots)->Retain(2);
  EXPECT_FALSE(std::filesystem::exists(file.path));
  EXPECT_EQ((*snapshots)->OpenModel(file, true).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ((*model)->size(), whole->size());
  EXPECT_EQ(*(*model)->Read(0, 1 << 20), *whole);
}

TEST(SnapshotsTest, ADamagedFileIsSaidWithItsPath) {
  const auto snapshots = OpenSnapshots(TestFolder());
  ASSERT_TRUE(snapshots.ok());
  ASSERT_TRUE((*snapshots)->Save(TrainedReplica(MakeTestJob(kJob), 1), {"state"}).ok());
  const Snapshots::File file = *(*snapshots)->Newest(1);
  const std::string whole = *ReadFile(file.path, 1 << 20);
  for (const size_t size : {size_t{0}, size_t{7}, size_t{100}}) {
    std::ofstream(file.path) << whole.substr(0, size);
    const auto model = (*snapshots)->OpenModel(file, false);
    EXPECT_EQ(model.status().code(), absl::StatusCode::kDataLoss) << size;
    EXPECT_THAT(std::string(model.status().message()), HasSubstr(file.path));
  }
  std::ofstream(file.path) << whole;
  const auto model = (*snapshots)->OpenModel(file, false);
  ASSERT_TRUE(model.ok()) << model.status();
  std::ofstream(file.path) << whole.substr(0, whole.size() - 400);  // into the parameters
  EXPECT_EQ((*model)->Read((*model)->size() - 8, 8).status().code(), absl::StatusCode::kDataLoss);
}

TEST(SnapshotsTest, AnotherProcessFindsThemAndVerifiesThem) {
  const std::string folder = TestFolder();
  const auto job = MakeTestJob(kJob);
  const Replica replica = TrainedReplica(job, 5);
  ASSERT_TRUE((*OpenSnapshots(folder))->Save(replica, {"of the server"}).ok());
  const auto snapshots = OpenSnapshots(folder);
  ASSERT_TRUE(snapshots.ok());
  EXPECT_EQ((*snapshots)->Newest(9)->chain_hash, replica.chain_hash());
  auto loaded = (*snapshots)->Load(5);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->server_state, "of the server");
  EXPECT_EQ(loaded->contents.header.SerializeAsString(), replica.header().SerializeAsString());
  Replica copy(job);
  ASSERT_TRUE(copy.Load(std::move(loaded->contents)).ok());
  EXPECT_EQ(copy.Hash(), replica.Hash());
}

TEST(SnapshotsTest, AChangedByteInAnyOfTheFilesIsFound) {
  const std::string folder = TestFolder();
  const auto job = MakeTestJob(kJob);
  ASSERT_TRUE((*OpenSnapshots(folder))->Save(TrainedReplica(job, 5), {"of the server"}).ok());
  for (const char* ending : {"safetensors", "server"}) {
    const std::string path = folder + "/snapshots/000000000005." + ending;
    const std::string whole = *ReadFile(path, 1 << 20);
    for (const size_t at : {size_t{0}, whole.size() / 2, whole.size() - 1}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ 1);
      ASSERT_TRUE(WriteFileAtomically(path, damaged).ok());
      const auto loaded = (*OpenSnapshots(folder))->Load(5);
      EXPECT_EQ(loaded.status().code(), absl::StatusCode::kDataLoss) << ending << " " << at;
      EXPECT_THAT(std::string(loaded.status().message()), HasSubstr(path));
    }
    ASSERT_TRUE(WriteFileAtomically(path, whole.substr(1)).ok());
    EXPECT_FALSE((*OpenSnapshots(folder))->Load(5).ok());
    ASSERT_TRUE(WriteFileAtomically(path, whole).ok());
  }
  EXPECT_TRUE((*OpenSnapshots(folder))->Load(5).ok());
}

TEST(SnapshotsTest, WhatWasNotFinishedIsRemoved) {
  const std::string folder = TestFolder();
  ASSERT_TRUE(OpenSnapshots(folder).ok());
  std::ofstream(folder + "/snapshots/000000000007.safetensors.partial") << "half";
  const auto snapshots = OpenSnapshots(folder);
  ASSERT_TRUE(snapshots.ok());
  EXPECT_TRUE((*snapshots)->versions().empty());
  EXPECT_TRUE(FilesIn(folder + "/snapshots").empty());
}

}  // namespace
}  // namespace gradwire
