// SPDX-License-Identifier: Apache-2.0
// Implementation of real_cluster.h.
#include "tests/server/real_cluster.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"

namespace gradwire {

RealCluster::RealCluster(const std::string& job_text, size_t count, CoordinatorOptions options)
    : cluster(job_text, std::move(options)) {
  for (size_t i = 0; i < count; ++i) Enter(absl::StrCat("w", i));
  Follow();
}

RealWorker& RealCluster::Enter(const std::string& id) {
  workers.push_back({.at = cluster.Enter(id),
                     .replica = std::make_unique<Replica>(cluster.job),
                     .uplink = std::make_unique<Uplink>(cluster.job)});
  if (!cluster.coordinator->log().range().empty) Follow();
  return workers.back();
}

void RealCluster::Leave(size_t worker) {
  workers[worker].gone = true;
  const absl::Status status = cluster.Leave(workers[worker].at);
  EXPECT_TRUE(status.ok()) << status;
}

void RealCluster::Follow() {
  for (RealWorker& worker : workers) {
    if (worker.gone) continue;
    Follow(static_cast<size_t>(&worker - workers.data()));
    EXPECT_EQ(worker.replica->Hash(), workers.front().replica->Hash()) << worker.at.id;
  }
}

void RealCluster::Follow(size_t index) {
  RealWorker& worker = workers[index];
  while (!worker.replica->started() || worker.replica->version() < cluster.version()) {
    const uint64_t next = worker.replica->started() ? worker.replica->version() + 1 : 0;
    const absl::Status applied = worker.replica->Apply(*cluster.coordinator->log().Find(next));
    ASSERT_TRUE(applied.ok()) << applied;
    const absl::Status resolved = worker.uplink->Resolve(next, worker.replica->header());
    ASSERT_TRUE(resolved.ok()) << resolved;
  }
}

void RealCluster::Encode(size_t index, const GradientOf& gradient) {
  RealWorker& worker = workers[index];
  const v1::Header& now = worker.replica->header();
  const uint64_t step = worker.replica->version() + 1;
  std::vector<float> values = gradient(index, step);
  const absl::Status encoded =
      worker.uplink->Encode({.step = step,
                             .learning_rate = now.next_learning_rate(),
                             .flush = now.next_flush(),
                             .members = static_cast<uint32_t>(now.members_size()),
                             .rank = worker.at.lease.rank(),
                             .bases = worker.replica->bases(),
                             .base_chain_hash = worker.replica->chain_hash()},
                            absl::MakeSpan(values), {.loss = 1, .samples = 1});
  EXPECT_TRUE(encoded.ok()) << encoded;
}

std::vector<v1::Gradient> RealCluster::Push(size_t index, const GradientOf& gradient) {
  RealWorker& worker = workers[index];
  Encode(index, gradient);
  std::vector<v1::Gradient> sent;
  for (const v1::TrainRequest& request : worker.uplink->Messages(
           {.rank = worker.at.lease.rank(), .incarnation = worker.at.lease.incarnation()})) {
    sent.push_back(request.gradient());
    for (const v1::BlockPayload& block : sent.back().blocks()) up_bytes += block.payload().size();
    const absl::Status status = cluster.Send(worker.at, sent.back());
    EXPECT_TRUE(status.ok()) << status;
  }
  return sent;
}

void RealCluster::Resend(size_t index) {
  RealWorker& worker = workers[index];
  for (const v1::TrainRequest& request : worker.uplink->Messages(
           {.rank = worker.at.lease.rank(), .incarnation = worker.at.lease.incarnation()})) {
    const absl::Status status = cluster.Send(worker.at, request.gradient());
    EXPECT_TRUE(status.ok()) << status;
  }
}

void RealCluster::Step(const GradientOf& gradient) {
  up_bytes = 0;
  const v1::Header open = header();
  for (size_t i = 0; i < workers.size(); ++i) {
    const bool member =
        std::any_of(open.members().begin(), open.members().end(),
                    [&](const v1::Member& m) { return m.id() == workers[i].at.id; });
    if (member && !workers[i].gone) Push(i, gradient);
  }
  Follow();
}

void RealCluster::Steps(uint64_t count, const GradientOf& gradient) {
  for (uint64_t i = 0; i < count && !testing::Test::HasFatalFailure(); ++i) Step(gradient);
}

std::vector<double> RealCluster::MeanResidual() const {
  std::vector<double> mean(cluster.job->layout.dimension(), 0.0);
  for (const RealWorker& worker : workers) {
    const absl::Span<const float> residual = worker.uplink->residual();
    for (size_t i = 0; i < residual.size(); ++i) {
      mean[i] += double{residual[i]} / static_cast<double>(workers.size());
    }
  }
  return mean;
}

std::vector<float> NormalGradient(size_t dimension, size_t worker, uint64_t step) {
  std::mt19937_64 random(step * 1000 + worker);
  std::normal_distribution<float> normal;
  std::vector<float> values(dimension);
  for (float& value : values) value = normal(random);
  return values;
}

}  // namespace gradwire
