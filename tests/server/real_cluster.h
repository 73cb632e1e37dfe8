// SPDX-License-Identifier: Apache-2.0
// A real coordinator and real workers' memories in one process: only gRPC and models are left out.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/replica/replica.h"
#include "tests/server/fake_cluster.h"
#include "worker/client/uplink.h"

namespace gradwire {

struct RealWorker {
  FakeWorker at;
  std::unique_ptr<Replica> replica;
  std::unique_ptr<Uplink> uplink;
  bool gone = false;
};

class RealCluster {
 public:
  // The gradient of a worker, by its place in `workers`, at a step.
  using GradientOf = std::function<std::vector<float>(size_t worker, uint64_t step)>;

  RealCluster(const std::string& job_text, size_t workers, CoordinatorOptions options = {});

  // A newcomer, which follows the log from its beginning.
  RealWorker& Enter(const std::string& id);
  void Leave(size_t worker);

  // Every member of the open step sends its payload; then all follow the log.
  void Step(const GradientOf& gradient);
  void Steps(uint64_t count, const GradientOf& gradient);
  // One worker's payload, made at what it has followed so far, and held.
  void Encode(size_t worker, const GradientOf& gradient);
  // One worker's payload, made and sent; the messages.
  std::vector<v1::Gradient> Push(size_t worker, const GradientOf& gradient);
  // The payload that a worker holds, once more.
  void Resend(size_t worker);
  void Follow();
  void Follow(size_t worker);  // this one alone

  const Job& job() const { return *cluster.job; }
  const Replica& replica() const { return *workers.front().replica; }
  const v1::Header& header() const { return replica().header(); }
  // The mean over workers of what each has in its residual.
  std::vector<double> MeanResidual() const;
  // Payload bytes of the newest record.
  size_t DownBytes() const { return cluster.newest()->payload_bytes; }

  FakeCluster cluster;
  std::vector<RealWorker> workers;
  size_t up_bytes = 0;  // of all payloads of the newest step
};

// Normally distributed: a function of worker and step.
std::vector<float> NormalGradient(size_t dimension, size_t worker, uint64_t step);

}  // namespace gradwire
