// SPDX-License-Identifier: Apache-2.0
// The replica: what a record does to it, and that everybody gets the same bits.
#include "common/replica/replica.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/kernels/target.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

std::string JobOf(size_t dimension, const std::string& more) {
  return absl::StrCat("model { tensors { tensor { name: 'w' shape: ", dimension,
                      " init: 'normal:1' } } } steps: 100 ", more);
}

std::vector<float> Parameters(const Replica& replica) {
  return {replica.parameters().begin(), replica.parameters().end()};
}

TEST(ReplicaTest, BeginsWithTheSeedsParameters) {
  const auto job = MakeTestJob(JobOf(100, "optimizer: 'sgd:0.1,0.9'"));
  const Replica replica(job);
  std::vector<float> want(100);
  job->layout.Initialize(1, absl::MakeSpan(want));
  EXPECT_EQ(Parameters(replica), want);
  ASSERT_EQ(replica.state().size(), 1U);
  EXPECT_EQ(replica.state()[0], std::vector<float>(100));
  EXPECT_FALSE(replica.started());
  EXPECT_EQ(replica.chain_hash(), ChainHash{});
}

TEST(ReplicaTest, FirstRecordOnlyStartsIt) {
  const auto job = MakeTestJob(JobOf(100, ""));
  Replica replica(job);
  const uint64_t hash = replica.Hash();
  const auto record = FirstRecord(*job);
  ASSERT_TRUE(replica.Apply(*record).ok());
  EXPECT_TRUE(replica.started());
  EXPECT_EQ(replica.version(), 0U);
  EXPECT_EQ(replica.applied(), 0U);
  EXPECT_EQ(replica.chain_hash(), record->chain_hash);
  EXPECT_EQ(replica.header().next_learning_rate(), 0.1F);
  EXPECT_EQ(replica.Hash(), hash);
}

// Identity and plain sgd: the update is subtracted, over several blocks and parts.
TEST(ReplicaTest, DenseUpdateIsSubtracted) {
  const auto job = MakeTestJob(JobOf(2 * kBlockSize + 77, ""));
  for (const size_t blocks_per_part : {1, 2, 3}) {
    SCOPED_TRACE(blocks_per_part);
    Replica replica = TrainedReplica(job, 0);
    const std::vector<float> before = Parameters(replica);
    const std::vector<float> update = TestGradient(*job, 1);
    const auto record = Seal(1, NextParts(replica, update, blocks_per_part));
    ASSERT_EQ(record->parts.size(), (3 + blocks_per_part - 1) / blocks_per_part);
    ASSERT_TRUE(replica.Apply(*record).ok());
    size_t wrong = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      wrong += replica.parameters()[i] != before[i] - update[i] ? 1 : 0;
    }
    EXPECT_EQ(wrong, 0U);
    EXPECT_EQ(replica.version(), 1U);
    EXPECT_EQ(replica.applied(), 1U);
    EXPECT_EQ(replica.chain_hash(), record->chain_hash);
    EXPECT_EQ(replica.header().used_size(), 1);
  }
}

TEST(ReplicaTest, SparseUpdateTouchesOnlyItsCoordinates) {
  for (const char* codec : {"random_k:0.01", "top_k:0.01"}) {
    SCOPED_TRACE(codec);
    const auto job = MakeTestJob(JobOf(kBlockSize + 1000, absl::StrCat("codec: '", codec, "'")));
    Replica replica = TrainedReplica(job, 0);
    const std::vector<float> before = Parameters(replica);
    const std::vector<float> update = TestGradient(*job, 1);
    ASSERT_TRUE(replica.Apply(*NextRecord(replica, update)).ok());
    size_t touched = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      if (replica.parameters()[i] == before[i]) continue;
      ++touched;
      EXPECT_EQ(replica.parameters()[i], before[i] - update[i]) << i;
    }
    EXPECT_EQ(touched, 2621U + 10U);  // round(0.01 n) of each block
  }
}

TEST(ReplicaTest, RecordWithoutPayloadsMovesOnlyThePoint) {
  const auto job = MakeTestJob(JobOf(100, "optimizer: 'sgd:0.1,0.9'"));
  Replica replica = TrainedReplica(job, 3);
  const uint64_t hash = replica.Hash();
  const auto record = NextRecord(replica, {});
  ASSERT_TRUE(replica.Apply(*record).ok());
  EXPECT_EQ(replica.version(), 4U);
  EXPECT_EQ(replica.applied(), 3U);
  EXPECT_EQ(replica.chain_hash(), record->chain_hash);
  EXPECT_EQ(replica.Hash(), hash);  // with momentum even a zero update would move it
}

// torch: the first step's buffer is the gradient, without dampening; that it is the first
// is counted in updates, not in versions.
TEST(ReplicaTest, FirstStepIsTheFirstWithPayloads) {
  const auto job = MakeTestJob(
      "model { tensors { tensor { name: 'w' shape: 2 } } } steps: 9 "
      "optimizer: 'sgd:lr=0.5,momentum=0.5,dampening=0.5'");
  Replica replica = TrainedReplica(job, 0);
  ASSERT_TRUE(replica.Apply(*NextRecord(replica, {})).ok());
  ASSERT_TRUE(replica.Apply(*NextRecord(replica, {4, 8})).ok());
  EXPECT_THAT(replica.state()[0], testing::ElementsAre(4, 8));
  EXPECT_THAT(Parameters(replica), testing::ElementsAre(-2, -4));
  ASSERT_TRUE(replica.Apply(*NextRecord(replica, {4, 8})).ok());
  EXPECT_THAT(replica.state()[0], testing::ElementsAre(4, 8));  // 0.5*4 + 0.5*4
  EXPECT_THAT(Parameters(replica), testing::ElementsAre(-4, -8));
}

TEST(ReplicaTest, HashesAreOfBlockHashes) {
  const auto job = MakeTestJob(JobOf(kBlockSize + 5, "optimizer: 'sgd:0.1,0.9'"));
  const Replica replica = TrainedReplica(job, 1);
  const auto parameters = replica.parameters();
  const auto momentum = absl::MakeConstSpan(replica.state()[0]);
  std::vector<uint64_t> hashes = {Hash64(parameters.subspan(0, kBlockSize)),
                                  Hash64(parameters.subspan(kBlockSize))};
  EXPECT_EQ(replica.ParametersHash(), Hash64(absl::MakeConstSpan(hashes)));
  hashes.push_back(Hash64(momentum.subspan(0, kBlockSize)));
  hashes.push_back(Hash64(momentum.subspan(kBlockSize)));
  EXPECT_EQ(replica.Hash(), Hash64(absl::MakeConstSpan(hashes)));
}

TEST(ReplicaTest, EveryBitChangesTheHash) {
  const auto job = MakeTestJob(JobOf(6, "optimizer: 'sgd:0.1,0.9'"));
  const Replica trained = TrainedReplica(job, 2);
  const Replica::Contents contents = {
      .version = 2, .parameters = Parameters(trained), .state = {trained.state()[0]}};
  std::set<uint64_t> hashes = {trained.Hash()};
  for (size_t bit = 0; bit < 2 * 6 * 32; ++bit) {
    Replica::Contents changed = contents;
    const bool in_state = bit >= 6 * 32;
    std::vector<float>& values = in_state ? changed.state[0] : changed.parameters;
    reinterpret_cast<char*>(values.data())[bit / 8 % 24] ^= static_cast<char>(1 << bit % 8);
    Replica replica(job);
    ASSERT_TRUE(replica.Load(std::move(changed)).ok());
    EXPECT_TRUE(hashes.insert(replica.Hash()).second) << bit;
    EXPECT_EQ(replica.ParametersHash() == trained.ParametersHash(), in_state) << bit;
  }
}

TEST(ReplicaTest, LoadRefusesWhatDoesNotFit) {
  const auto job = MakeTestJob(JobOf(6, "optimizer: 'sgd:0.1,0.9'"));
  const struct {
    size_t parameters;
    std::vector<size_t> state;
  } cases[] = {{5, {6}}, {7, {6}}, {6, {}}, {6, {6, 6}}, {6, {5}}};
  for (const auto& c : cases) {
    Replica::Contents contents;
    contents.parameters.resize(c.parameters);
    for (const size_t size : c.state) contents.state.emplace_back(size);
    Replica replica(job);
    EXPECT_EQ(replica.Load(contents).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_FALSE(replica.started());
  }
}

// One log, replayed with every set of instructions this machine has.
TEST(ReplicaTest, EveryKernelTargetReplaysALogToTheSameBits) {
  for (const char* choice :
       {"", "codec: 'random_k:0.05'", "codec: 'random_k:0.05,values=bf16'",
        "codec: 'top_k:0.05,values=fp16'", "optimizer: 'sgd:0.1,0.9,weight_decay=0.01'",
        "codec: 'random_k:0.1' optimizer: 'sgd:0.1,0.9,nesterov=yes' schedule: 'step_decay:5'"}) {
    SCOPED_TRACE(choice);
    ASSERT_TRUE(SetKernelTarget("scalar").ok());
    const auto job = MakeTestJob(JobOf(kBlockSize + 1003, choice));
    std::vector<std::shared_ptr<const Record>> log = {FirstRecord(*job)};
    Replica made(job);
    ASSERT_TRUE(made.Apply(*log.back()).ok());
    for (uint64_t step = 1; step <= 8; ++step) {
      log.push_back(NextRecord(made, TestGradient(*job, step)));
      ASSERT_TRUE(made.Apply(*log.back()).ok());
    }
    for (const std::string& target : KernelTargets()) {
      ASSERT_TRUE(SetKernelTarget(target).ok());
      Replica replica(job);
      for (const auto& record : log) ASSERT_TRUE(replica.Apply(*record).ok());
      EXPECT_EQ(replica.Hash(), made.Hash()) << target;
    }
  }
  ASSERT_TRUE(SetKernelTarget("auto").ok());
}

}  // namespace
}  // namespace gradwire
