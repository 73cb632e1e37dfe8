// SPDX-License-Identifier: Apache-2.0
// The coordinator under several threads at once: what ThreadSanitizer looks at.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

constexpr uint64_t kSteps = 200;
constexpr size_t kWorkers = 4;

// Pushes every step as soon as its header is on the log.
void Work(FakeCluster* cluster, const FakeWorker& worker, float value) {
  for (uint64_t step = 1; step <= kSteps; ++step) {
    std::shared_ptr<const Record> before;
    while (before == nullptr) {
      before = cluster->coordinator->log().Find(step - 1);
      std::this_thread::yield();
    }
    for (const v1::Gradient& message :
         MakePayload(*cluster->job, step, AsView(before->chain_hash),
                     std::vector<float>(cluster->job->layout.dimension(), value))) {
      const absl::Status status = cluster->Send(worker, message);
      ASSERT_TRUE(status.ok()) << status;
    }
    cluster->Heartbeat(worker);
  }
}

TEST(CoordinatorThreadsTest, WorkersOperatorsAndTheClockDoNotDisturbEachOther) {
  FakeCluster cluster(
      "model { tensors { tensor { name: 'w' shape: 300000 } } } steps: 200 "
      "codec: 'random_k:0.0001' membership { workers: 4 }");
  std::vector<FakeWorker> workers;
  for (size_t i = 0; i < kWorkers; ++i) workers.push_back(cluster.Enter("w" + std::to_string(i)));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kWorkers; ++i) {
    threads.emplace_back([&, i] { Work(&cluster, workers[i], static_cast<float>(i)); });
  }
  std::atomic<bool> done{false};
  std::thread operators([&] {
    while (!done) {
      cluster.coordinator->Tick();
      cluster.Status();
      cluster.coordinator->MayRead(workers[0].who());
      cluster.coordinator->SnapshotAt(0).status().IgnoreError();
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  for (const FakeWorker& worker : workers) EXPECT_TRUE(cluster.Leave(worker).ok());
  const auto result = cluster.coordinator->WaitForEnd(absl::Seconds(10));
  done = true;
  operators.join();
  EXPECT_EQ(result.phase, Phase::kFinished);
  EXPECT_EQ(result.version, kSteps);
  for (uint64_t version = 1; version <= kSteps; ++version) {
    const auto record = cluster.coordinator->log().Find(version);
    for (const std::string& payload : RecordPayloads(*record)) {
      EXPECT_THAT(PayloadValues(payload), testing::Each(1.5f));  // (0 + 1 + 2 + 3) / 4
    }
  }
}

}  // namespace
}  // namespace gradwire
