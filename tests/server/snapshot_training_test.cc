// SPDX-License-Identifier: Apache-2.0
// A snapshot taken in the midst of training holds everything that the replica keeps, whatever the
// job chose: who loads it goes on to the same bits.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/kernels/target.h"
#include "common/replica/snapshot.h"
#include "tests/server/real_cluster.h"

namespace gradwire {
namespace {

constexpr const char* kJobs[] = {
    "codec: 'random_k:0.1' reset: 'reset:steps=3'",
    "codec: 'identity' optimizer: 'adam:lr=0.01'",
    "codec: 'top_k:0.1' optimizer: 'adam:lr=0.01' error_feedback: 'ef21'",
    "codec: 'top_k:0.1' error_feedback: 'ef21_sgdm' reset: 'reset:steps=4'",
    "codec: 'powersgd:1'",
    "codec: 'powersgd:2' optimizer: 'adam:lr=0.01' error_feedback: 'ef21'",
    "codec: 'powersgd:1' reset: 'flush:steps=3'",
    "codec: 'powersgd:1' tensors { name: '*.bias' codec: 'sign' } reset: 'flush:steps=4'",
    "codec: 'count_sketch'",
    "codec: 'sign_majority:momentum=0.9' optimizer: 'sgd:lr=0.001'",
    "codec: 'dgc:0.1' optimizer: 'sgd:lr=0.1'",
    "codec: 'qsgd' clip: 'norm:1' optimizer: 'ftml'",
    "codec: 'top_k:0.1' perturbation: 'on_demand:radius=1,threshold=1e9,wait=3'",
};

TEST(SnapshotTrainingTest, WhoLoadsItGoesOnToTheSameBits) {
  for (const char* choice : kJobs) {
    SCOPED_TRACE(choice);
    RealCluster cluster(
        absl::StrCat("model { mlp { inputs: 30 hidden: 20 classes: 5 } } steps: 50 ",
                     "membership { workers: 2 } ", choice),
        2);
    const size_t dimension = cluster.job().layout.dimension();
    const auto gradient = [&](size_t w, uint64_t s) { return NormalGradient(dimension, w, s); };
    cluster.Steps(7, gradient);
    auto contents = DecodeSnapshot(cluster.job(), EncodeSnapshot(cluster.replica(), true));
    ASSERT_TRUE(contents.ok()) << contents.status();
    EXPECT_EQ(contents->reset_id, cluster.header().reset_id());
    EXPECT_EQ(contents->bases.size(), cluster.job().basis_size());
    Replica loaded(cluster.cluster.job);
    ASSERT_TRUE(loaded.Load(*std::move(contents)).ok());
    EXPECT_EQ(loaded.Hash(), cluster.replica().Hash());
    EXPECT_EQ(loaded.applied(), cluster.replica().applied());
    cluster.Steps(7, gradient);
    for (uint64_t v = 8; v <= 14; ++v) {
      const absl::Status applied = loaded.Apply(*cluster.cluster.coordinator->log().Find(v));
      ASSERT_TRUE(applied.ok()) << applied;
    }
    EXPECT_EQ(loaded.Hash(), cluster.replica().Hash());
    EXPECT_EQ(loaded.reset_id(), cluster.replica().reset_id());
  }
}

TEST(SnapshotTrainingTest, EveryTargetReplaysALogToTheSameBits) {
  for (const char* choice : kJobs) {
    SCOPED_TRACE(choice);
    RealCluster cluster(
        absl::StrCat("model { mlp { inputs: 30 hidden: 20 classes: 5 } } steps: 50 ",
                     "membership { workers: 2 } ", choice),
        2);
    const size_t dimension = cluster.job().layout.dimension();
    cluster.Steps(8, [&](size_t w, uint64_t s) { return NormalGradient(dimension, w, s); });
    for (const std::string& target : KernelTargets()) {
      ASSERT_TRUE(SetKernelTarget(target).ok());
      Replica replica(cluster.cluster.job);
      for (uint64_t v = 0; v <= 8; ++v) {
        ASSERT_TRUE(replica.Apply(*cluster.cluster.coordinator->log().Find(v)).ok());
      }
      EXPECT_EQ(replica.Hash(), cluster.replica().Hash()) << target;
    }
    ASSERT_TRUE(SetKernelTarget("auto").ok());
  }
}

}  // namespace
}  // namespace gradwire
