// SPDX-License-Identifier: Apache-2.0
// A worker's saved states: what is read back is what was written, of this worker and this job.
#include "worker/client/worker_state.h"

#include "tests/worker/client/history.h"
#include "tests/worker/data/files.h"

namespace gradwire {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kWorker[] = "w1";
constexpr uint64_t kSchema = 0x1234;

class WorkerStateTest : public testing::Test {
 protected:
  WorkerStateTest() : folder_(MakeFolder("worker_state")) {}

  std::unique_ptr<WorkerStateStore> Open(const std::string& id = kWorker) {
    auto store = WorkerStateStore::Open({.state_dir = folder_, .worker_id = id});
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }
  static WorkerState StateOf(uint64_t version) {
    WorkerState state = {.version = version, .incarnation = version + 5};
    state.chain_hash.fill(static_cast<char>('a' + version));
    state.memory = {.reset_id = version + 9,
                    .memory = {.fresh = version % 2 == 0,
                               .residual = {-0.0f, 1e-45f, static_cast<float>(version)},
                               .momentum = {0.5f}}};
    return state;
  }
  static std::vector<uint64_t> Versions(const WorkerStateStore& store) {
    std::vector<uint64_t> versions;
    for (const auto& point : store.points()) versions.push_back(point.version);
    return versions;
  }
  void Save(std::initializer_list<uint64_t> versions) {
    const auto store = Open();
    for (const uint64_t version : versions) {
      const absl::Status saved = store->Save(kSchema, StateOf(version));
      EXPECT_TRUE(saved.ok()) << saved;
    }
  }
  std::string PathOf(const std::string& name) const { return folder_ + "/worker/" + name; }

  const std::string folder_;
};

TEST_F(WorkerStateTest, KeepsTheTwoNewestBitForBitOverAProcess) {
  Save({100, 200, 300});
  const auto store = Open();
  EXPECT_THAT(Versions(*store), ElementsAre(300, 200));
  EXPECT_EQ(store->oldest_version(), 200u);
  EXPECT_TRUE(store->CheckSchema(kSchema).ok());
  EXPECT_FALSE(std::filesystem::exists(PathOf("000000000100.state")));
  for (const uint64_t version : {200, 300}) {
    const auto loaded = store->Load(version);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    const WorkerState want = StateOf(version);
    EXPECT_EQ(loaded->version, version);
    EXPECT_EQ(loaded->chain_hash, want.chain_hash);
    EXPECT_EQ(loaded->incarnation, want.incarnation);
    ExpectSameMemory(loaded->memory, want.memory);
  }
  EXPECT_EQ(store->Load(100).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(WorkerStateTest, ANewFolderHasNothing) {
  EXPECT_EQ(*SavedWorkerId(folder_, PosixFileSystem()), "");
  const auto store = Open();
  EXPECT_THAT(store->points(), IsEmpty());
  EXPECT_EQ(store->oldest_version(), std::nullopt);
  EXPECT_EQ(*SavedWorkerId(folder_, PosixFileSystem()), kWorker);
}

// A server that lost its newest records: the worker is at a lower version again.
TEST_F(WorkerStateTest, AStateOfAnEarlierVersionReplacesThoseOfTheLostHistory) {
  Save({100, 200, 300, 150});
  EXPECT_THAT(Versions(*Open()), ElementsAre(150));
}

TEST_F(WorkerStateTest, RemovesOnRequest) {
  Save({100, 200});
  EXPECT_TRUE(Open()->RemoveAfter(150).ok());
  EXPECT_THAT(Versions(*Open()), ElementsAre(100));
  const auto store = Open();
  EXPECT_TRUE(store->RemoveAll().ok());
  EXPECT_THAT(store->points(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(PathOf("000000000100.state")));
}

TEST_F(WorkerStateTest, RefusesAnotherWorkersFolderNamingBoth) {
  Open();  // the name alone, in a file of its own
  for (const bool with_state : {false, true}) {
    if (with_state) {
      Save({100});
      std::filesystem::remove(PathOf("worker_id"));
    }
    const absl::Status status =
        WorkerStateStore::Open({.state_dir = folder_, .worker_id = "w2"}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(status.message(), AllOf(HasSubstr(folder_), HasSubstr("w1"), HasSubstr("w2"),
                                        HasSubstr("--worker_id")));
  }
}

TEST_F(WorkerStateTest, RefusesAnotherJobsFolderNamingBoth) {
  Save({100});
  const absl::Status status = Open()->CheckSchema(0x99);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), AllOf(HasSubstr(folder_), HasSubstr(HashText(uint64_t{kSchema})),
                                      HasSubstr(HashText(uint64_t{0x99}))));
}

TEST_F(WorkerStateTest, RefusesASecondWorkerWhileOneIsThere) {
  const auto first = Open();
  const absl::Status status =
      WorkerStateStore::Open({.state_dir = folder_, .worker_id = kWorker}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr(folder_));
}

TEST_F(WorkerStateTest, PassesOverEveryDamagedFile) {
  Save({100, 200});
  const std::string path = PathOf("000000000200.state");
  const std::string whole = *PosixFileSystem()->Read(path, 1 << 20);
  std::vector<std::string> damaged = {"", whole + "x"};
  for (size_t size = 1; size < whole.size(); size += 7) damaged.push_back(whole.substr(0, size));
  for (size_t bit = 0; bit < 8 * whole.size(); bit += 61) {
    damaged.push_back(whole);
    damaged.back()[bit / 8] ^= static_cast<char>(1 << (bit % 8));
  }
  for (const std::string& bytes : damaged) {
    WriteFile(path, bytes);
    EXPECT_THAT(Versions(*Open()), ElementsAre(100));
  }
  WriteFile(path, whole);
  WriteFile(PathOf("000000000250.state"), whole);  // renamed: not what its name says
  EXPECT_THAT(Versions(*Open()), ElementsAre(200, 100));
  EXPECT_TRUE(Open()->Save(kSchema, StateOf(300)).ok());  // clears up
  EXPECT_FALSE(std::filesystem::exists(PathOf("000000000250.state")));
}

TEST_F(WorkerStateTest, ClearsUpWhatWasNotFinished) {
  Save({100});
  WriteFile(PathOf("000000000200.state.partial.77"), "half");
  EXPECT_THAT(Versions(*Open()), ElementsAre(100));
  EXPECT_FALSE(std::filesystem::exists(PathOf("000000000200.state.partial.77")));
}

}  // namespace
}  // namespace gradwire
