// SPDX-License-Identifier: Apache-2.0
// Every single bit of a state directory, flipped: the server refuses to start and names the file,
// or comes back at a version that it once had, with that version's parameters, state and hash.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/history.h"
#include "tests/common/base/sanitized.h"
#include "tests/common/replica/crashing_file_system.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

constexpr uint64_t kSteps = 9;
// Bytes at a file's beginning; of the rest every 64th bit.
constexpr size_t kEveryBitOf = kSanitized ? 80 : 400;

struct Living {
  uint64_t hash = 0;
  ChainHash chain_hash = {};
  std::string state;
};

absl::StatusOr<std::unique_ptr<History>> Open(const std::shared_ptr<const Job>& job,
                                              FileSystem* disk) {
  HistoryOptions options;
  options.files = disk;
  options.state_dir = "/state";
  options.fsync.kind = FsyncPolicy::Kind::kNever;
  return History::Open(job, options);
}

std::vector<std::string> FilesOf(FileSystem* disk) {
  std::vector<std::string> paths = {"/state/job.textproto"};
  for (const char* folder : {"/state/log", "/state/snapshots"}) {
    const auto names = disk->List(folder);
    EXPECT_TRUE(names.ok());
    for (const std::string& name : *names) paths.push_back(absl::StrCat(folder, "/", name));
  }
  return paths;
}

class StateDamageTest : public testing::TestWithParam<const char*> {};

TEST_P(StateDamageTest, IsRefusedOrRecoveredFrom) {
  const auto job =
      MakeTestJob(absl::StrCat("model { tensors { tensor { name: 'w' shape: 20 } } } steps: 100 ",
                               "snapshot_every: 3 ", GetParam()));
  CrashingFileSystem whole;
  std::vector<Living> living;
  {
    const auto history = Open(job, &whole);
    ASSERT_TRUE(history.ok()) << history.status();
    const Replica& replica = (*history)->replica();
    for (uint64_t next = 0; next <= kSteps + 1; ++next) {
      const auto record =
          next == 0 ? FirstRecord(*job) : NextRecord(replica, TestGradient(*job, next));
      ASSERT_TRUE((*history)->state().Replay(*record, replica).ok());
      ASSERT_TRUE((*history)->Commit(record, RecordHeader(*record)).ok());
      (*history)->WaitForSnapshot();
      (*history)->Trim(next);
      living.push_back({replica.Hash(), replica.chain_hash(), (*history)->state().Encode(replica)});
    }
  }
  size_t refused = 0;
  size_t recovered = 0;
  for (const std::string& path : FilesOf(&whole)) {
    SCOPED_TRACE(path);
    const std::string bytes = *whole.Read(path, 1 << 20);
    ASSERT_FALSE(bytes.empty());
    for (size_t bit = 0; bit < 8 * bytes.size(); bit += bit < 8 * kEveryBitOf ? 1 : 64) {
      const auto disk = whole.AfterKill();
      std::string damaged = bytes;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
      ASSERT_TRUE(WriteFileAtomically(path, damaged, disk.get()).ok());
      const auto history = Open(job, disk.get());
      if (!history.ok()) {
        ++refused;
        EXPECT_TRUE(absl::StrContains(history.status().message(), "/state")) << history.status();
        continue;
      }
      ++recovered;
      const Replica& replica = (*history)->replica();
      ASSERT_TRUE(replica.started()) << "bit " << bit;
      const Living& then = living[replica.version()];
      ASSERT_EQ(replica.Hash(), then.hash) << "bit " << bit;
      ASSERT_EQ(replica.chain_hash(), then.chain_hash) << "bit " << bit;
      ASSERT_EQ((*history)->state().Encode(replica), then.state) << "bit " << bit;
    }
  }
  EXPECT_GT(refused, 100u);
  EXPECT_GT(recovered, 100u);
}

INSTANTIATE_TEST_SUITE_P(Jobs, StateDamageTest,
                         testing::Values("codec: 'identity' optimizer: 'adam:lr=0.01'",
                                         "codec: 'random_k:0.2' perturbation: 'gaussian:std=0.1' "
                                         "reset: 'reset:radius=0.5'"));

}  // namespace
}  // namespace gradwire
