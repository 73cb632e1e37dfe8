// SPDX-License-Identifier: Apache-2.0
// Snapshots come back whole, strangers read them, and old ones are read for ever.
#include "common/replica/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

constexpr char kMlp[] =
    "model { mlp { inputs: 3 hidden: 4 classes: 2 } } steps: 9 name: 'q\"uote' ";

std::string WithMomentum() { return absl::StrCat(kMlp, "optimizer: 'sgd:0.1,0.9'"); }

TEST(SnapshotTest, ComesBackWhole) {
  for (const std::string& text : {std::string(kMlp), WithMomentum()}) {
    SCOPED_TRACE(text);
    const auto job = MakeTestJob(text);
    const Replica trained = TrainedReplica(job, 3);
    auto contents = DecodeSnapshot(*job, EncodeSnapshot(trained, /*with_state=*/true));
    ASSERT_TRUE(contents.ok()) << contents.status();
    Replica loaded(job);
    ASSERT_TRUE(loaded.Load(*std::move(contents)).ok());
    EXPECT_TRUE(loaded.started());
    EXPECT_EQ(loaded.version(), 3U);
    EXPECT_EQ(loaded.applied(), 3U);
    EXPECT_EQ(loaded.chain_hash(), trained.chain_hash());
    EXPECT_EQ(loaded.Hash(), trained.Hash());
  }
}

TEST(SnapshotTest, GoesOnWhereTheReplicaWas) {
  const auto job = MakeTestJob(WithMomentum());
  Replica trained = TrainedReplica(job, 3);
  Replica loaded(job);
  ASSERT_TRUE(loaded.Load(*DecodeSnapshot(*job, EncodeSnapshot(trained, true))).ok());
  for (uint64_t step = 4; step <= 6; ++step) {
    const auto record = NextRecord(trained, TestGradient(*job, step));
    ASSERT_TRUE(trained.Apply(*record).ok());
    ASSERT_TRUE(loaded.Apply(*record).ok());
  }
  EXPECT_EQ(loaded.Hash(), trained.Hash());
}

TEST(SnapshotTest, StateIsLeftOutOnlyWhenThereIsNone) {
  const auto plain = MakeTestJob(kMlp);
  const Replica without = TrainedReplica(plain, 2);
  EXPECT_EQ(EncodeSnapshot(without, true), EncodeSnapshot(without, false));
  EXPECT_TRUE(DecodeSnapshot(*plain, EncodeSnapshot(without, false)).ok());

  const auto job = MakeTestJob(WithMomentum());
  const std::string bytes = EncodeSnapshot(TrainedReplica(job, 2), /*with_state=*/false);
  EXPECT_FALSE(absl::StrContains(bytes, "optimizer.momentum"));
  const absl::Status status = DecodeSnapshot(*job, bytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("tensor \"optimizer.momentum/layer1.weight\" is missing"));
}

std::string Numbers(absl::Span<const float> values) {
  return absl::StrJoin(values, " ", [](std::string* out, float value) {
    absl::StrAppendFormat(out, "%.9g", value);
  });
}

// By a reader that knows the published format and nothing of us; then by torch.
TEST(SnapshotTest, StrangersReadIt) {
  const Replica trained = TrainedReplica(MakeTestJob(WithMomentum()), 3);
  const std::string path = testing::TempDir() + "gradwire_snapshot_test.safetensors";
  ASSERT_TRUE(WriteFileAtomically(path, EncodeSnapshot(trained, true)).ok());
  const std::string command =
      absl::StrCat("/usr/bin/python3 " GRADWIRE_TEST_DATA "/common/replica/read_safetensors.py '",
                   path, "' 2>&1");
  FILE* pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string got;
  char buffer[4096];
  for (size_t n = 0; (n = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) got.append(buffer, n);
  const int status = ::pclose(pipe);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) GTEST_SKIP() << "no /usr/bin/python3 here";
  ASSERT_EQ(status, 0) << got;

  std::string want;
  std::string torch;
  for (const char* prefix : {"", "optimizer.momentum/"}) {
    const bool state = prefix[0] != '\0';
    const auto values = state ? absl::MakeConstSpan(trained.state()[0]) : trained.parameters();
    for (const TensorSpec& tensor : trained.job()->layout.tensors()) {
      const std::string numbers = Numbers(values.subspan(tensor.offset, tensor.size));
      absl::StrAppend(&want, prefix, tensor.name, " [", absl::StrJoin(tensor.shape, ", "), "] ",
                      numbers, "\n");
      if (!state) absl::StrAppend(&torch, "torch ", tensor.name, " ", numbers, "\n");
    }
  }
  if (absl::StrContains(got, "\ntorch ")) want += torch;
  EXPECT_EQ(got, want);
}

// tests/golden/replica/mlp.safetensors is the replica below, as the first release wrote it.
TEST(SnapshotTest, OldOnesAreReadForEver) {
  const auto bytes = ReadFile(GRADWIRE_TEST_DATA "/golden/replica/mlp.safetensors", 1 << 20);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto job = MakeTestJob(WithMomentum());
  auto contents = DecodeSnapshot(*job, *bytes);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->version, 3U);
  EXPECT_EQ(contents->applied, 3U);
  const Replica trained = TrainedReplica(job, 3);
  EXPECT_EQ(contents->chain_hash, trained.chain_hash());
  Replica loaded(job);
  ASSERT_TRUE(loaded.Load(*std::move(contents)).ok());
  EXPECT_EQ(HashText(loaded.Hash()), "xxh3:b2dff53d6f5f7196");
  EXPECT_EQ(loaded.Hash(), trained.Hash());  // nor has what we compute changed since
}

}  // namespace
}  // namespace gradwire
