// SPDX-License-Identifier: Apache-2.0
// A quorum closes rounds without the late ones, and what they sent is not lost: it goes back into
// their residuals, bit by bit accounted for.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/codec/block_values.h"
#include "tests/server/real_cluster.h"

namespace gradwire {
namespace {

constexpr size_t kWorkers = 4;
constexpr uint64_t kSteps = 40;
constexpr float kRate = 0.1f;

std::string QuorumJob(const char* codec) {
  return absl::StrCat("model { tensors { tensor { name: 'w' shape: 200 } } } steps: 1000 codec: '",
                      codec, "' optimizer: 'sgd:lr=", kRate, "' consistency: QUORUM ",
                      "quorum { workers: 3 deadline_seconds: 5 } membership { workers: 4 }");
}

// What the messages of a payload stand for, added to `sum`.
void AddPayload(const Job& job, const std::vector<v1::Gradient>& messages,
                std::vector<double>* sum) {
  for (const v1::Gradient& message : messages) {
    for (const v1::BlockPayload& block : message.blocks()) {
      BlockValues values;
      const absl::Status decoded =
          DecodePayload(*job.plans[block.block()].codec, job.Key(message.step(), block.block()),
                        block.payload(), &values);
      ASSERT_TRUE(decoded.ok()) << decoded;
      const Block& range = job.layout.block(block.block());
      MakeDense(range.size, &values);
      for (size_t i = 0; i < range.size; ++i) (*sum)[range.offset + i] += values.values[i];
    }
  }
}

bool Used(const v1::Header& header, uint32_t rank) {
  for (const v1::Contributor& used : header.used()) {
    if (used.rank() == rank) return true;
  }
  return false;
}

TEST(QuorumTrainingTest, WhatIsSentAndUsedPlusTheResidualsIsAllThatWasComputed) {
  for (const char* codec : {"random_k:0.1", "top_k:0.1", "identity", "one_bit"}) {
    SCOPED_TRACE(codec);
    RealCluster cluster(QuorumJob(codec), kWorkers);
    const size_t dimension = cluster.job().layout.dimension();
    const auto gradient = [&](size_t w, uint64_t s) { return NormalGradient(dimension, w, s); };
    std::vector<std::vector<double>> computed(kWorkers, std::vector<double>(dimension));
    std::vector<std::vector<double>> used = computed;
    size_t late = 0;
    for (uint64_t step = 1; step <= kSteps; ++step) {
      // A different one comes last each time, when the round is closed already.
      std::vector<std::vector<v1::Gradient>> sent(kWorkers);
      for (size_t i = 0; i < kWorkers; ++i) {
        const size_t worker = (step + i) % kWorkers;
        const std::vector<float> g = gradient(worker, step);
        for (size_t c = 0; c < dimension; ++c) computed[worker][c] += double{kRate} * double{g[c]};
        sent[worker] = cluster.Push(worker, gradient);
      }
      cluster.Follow();
      ASSERT_EQ(cluster.replica().version(), step);
      ASSERT_EQ(cluster.header().used_size(), 3);
      for (size_t w = 0; w < kWorkers; ++w) {
        if (Used(cluster.header(), static_cast<uint32_t>(w))) {
          AddPayload(cluster.job(), sent[w], &used[w]);
        } else {
          ++late;
        }
      }
    }
    EXPECT_EQ(late, kSteps);
    for (size_t w = 0; w < kWorkers; ++w) {
      const absl::Span<const float> residual = cluster.workers[w].uplink->residual();
      for (size_t c = 0; c < dimension; ++c) {
        const double rest = residual.empty() ? 0.0 : double{residual[c]};
        ASSERT_NEAR(used[w][c] + rest, computed[w][c], 2e-5) << "worker " << w << ", " << c;
      }
    }
  }
}

TEST(QuorumTrainingTest, TheDeadlineClosesARoundWithFewerAndNotWithTooFew) {
  RealCluster cluster(QuorumJob("random_k:0.1"), kWorkers);
  const auto gradient = [&](size_t w, uint64_t s) { return NormalGradient(200, w, s); };
  const auto wait = [&](absl::Duration time) {
    for (absl::Duration t; t < time; t += absl::Milliseconds(500)) {
      cluster.cluster.clock.Advance(absl::Milliseconds(500));
      for (const RealWorker& worker : cluster.workers) cluster.cluster.Heartbeat(worker.at);
      cluster.cluster.coordinator->Tick();
    }
  };
  cluster.Push(0, gradient);
  wait(absl::Seconds(20));
  EXPECT_EQ(cluster.cluster.version(), 0u);  // one of at least two
  cluster.Push(1, gradient);
  EXPECT_EQ(cluster.cluster.version(), 1u);  // the deadline had passed: it counts from the first
  cluster.Follow();
  cluster.Push(2, gradient);
  cluster.Push(3, gradient);
  wait(absl::Seconds(4));
  EXPECT_EQ(cluster.cluster.version(), 1u);
  wait(absl::Seconds(2));
  EXPECT_EQ(cluster.cluster.version(), 2u);
  cluster.Follow();
  EXPECT_EQ(cluster.header().used_size(), 2);
}

}  // namespace
}  // namespace gradwire
