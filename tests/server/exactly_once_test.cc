// SPDX-License-Identifier: Apache-2.0
// A push that is sent several times, in any interleaving with the others', counts once.
#include <gtest/gtest.h>

#include <random>

#include "tests/common/base/sanitized.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"
#include "tests/server/repeated_pushes.h"

namespace gradwire {
namespace {

constexpr size_t kWorkers = 3;

// Its stream ends and another begins where the log is.
void Reconnect(FakeCluster* cluster, FakeWorker* worker) {
  cluster->BreakStream(*worker);
  v1::Hello hello = worker->who();
  hello.mutable_at()->set_version(cluster->version());
  hello.mutable_at()->set_chain_hash(cluster->chain_hash());
  worker->stream = std::make_shared<FakeStream>();
  const auto next = cluster->coordinator->Hello(hello, worker->stream);
  ASSERT_TRUE(next.ok()) << next.status();
}

TEST(ExactlyOnceTest, OverTenThousandRandomSchedulesTheUpdateIsTheSame) {
  FakeCluster cluster(
      "model { tensors { tensor { name: 'w' shape: 600000 } } } steps: 20000 hash_every: 100000 "
      "snapshot_every: 100000 codec: 'random_k:0.0001' membership { workers: 3 }");
  auto workers = cluster.EnterAll(kWorkers);
  std::mt19937_64 random(2026);
  std::vector<std::vector<float>> gradients;
  for (uint64_t i = 0; i < 7; ++i) gradients.push_back(TestGradient(*cluster.job, i + 1));
  constexpr uint64_t kSchedules = kSanitized ? 1000 : 10000;
  uint64_t pushed = 0;
  for (uint64_t step = 1; step <= kSchedules; ++step) {
    Payloads payloads;
    for (size_t rank = 0; rank < kWorkers; ++rank) {
      payloads.push_back(cluster.Payload(gradients[(step + 2 * rank) % 7]));
    }
    for (const Arrival& arrival : RandomSchedule(&random, kWorkers, 3)) {
      if (random() % 16 == 0) Reconnect(&cluster, &workers[arrival.rank]);
      const absl::Status status =
          cluster.Send(workers[arrival.rank], payloads[arrival.rank][arrival.block]);
      ASSERT_TRUE(status.ok()) << status;
      ++pushed;
    }
    ASSERT_EQ(cluster.version(), step);
    ASSERT_EQ(RecordPayloads(*cluster.newest()), ExpectedUpdate(payloads)) << "step " << step;
    ASSERT_EQ(RecordHeader(*cluster.newest()).used_size(), 3);
  }
  EXPECT_EQ(cluster.counters.payloads_used.value(), kSchedules * kWorkers);
  EXPECT_GT(cluster.counters.blocks_duplicate.value(), 0u);
  EXPECT_GT(cluster.counters.payloads_late.value(), 0u);
  EXPECT_EQ(cluster.counters.payloads_refused.value(), 0u);
  EXPECT_GT(pushed, 2 * kSchedules * kWorkers * 3);
}

TEST(ExactlyOnceTest, DenseBlocksOfABigModelToo) {
  FakeCluster cluster(
      "model { tensors { tensor { name: 'w' shape: 600000 } } } steps: 100 "
      "codec: 'identity' membership { workers: 3 }");
  const auto workers = cluster.EnterAll(kWorkers);
  std::mt19937_64 random(7);
  std::vector<std::vector<float>> gradients;
  for (uint64_t i = 0; i < 3; ++i) gradients.push_back(TestGradient(*cluster.job, i + 1));
  Payloads payloads;
  for (uint64_t step = 1; step <= 5; ++step) {
    payloads.clear();
    for (const auto& gradient : gradients) payloads.push_back(cluster.Payload(gradient));
    for (const Arrival& arrival : RandomSchedule(&random, kWorkers, 3)) {
      ASSERT_TRUE(cluster.Send(workers[arrival.rank], payloads[arrival.rank][arrival.block]).ok());
    }
    ASSERT_EQ(cluster.version(), step);
    ASSERT_TRUE(RecordPayloads(*cluster.newest()) == ExpectedUpdate(payloads)) << step;
  }
  // Parameters are what plain subtraction of five such updates gives.
  std::vector<float> expected(600000, 0.0f);
  for (int step = 0; step < 5; ++step) {
    for (size_t i = 0; i < expected.size(); ++i) {
      expected[i] -= ((gradients[0][i] + gradients[1][i]) + gradients[2][i]) / 3.0f;
    }
  }
  EXPECT_TRUE(cluster.Parameters() == expected);
}

}  // namespace
}  // namespace gradwire
