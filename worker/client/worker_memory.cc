// SPDX-License-Identifier: Apache-2.0
// Implementation of worker_memory.h.
#include "worker/client/worker_memory.h"

#include <algorithm>

namespace gradwire {
namespace {

constexpr uint64_t kFixed = uint64_t{96} << 20;  // the program, gRPC, BLAS, stream windows

}  // namespace

MemoryNeed WorkerMemoryNeed(const Job& job) {
  MemoryNeed need;
  AddReplica(job, &need);
  const uint64_t vector = sizeof(float) * job.layout.dimension();
  const auto any = [&job](auto wanted) {
    return std::any_of(job.plans.begin(), job.plans.end(), wanted);
  };
  const bool remembers =
      any([](const BlockPlan& plan) { return plan.feedback != Feedback::kNone; });
  const bool averages = any([](const BlockPlan& plan) {
    return plan.traits.momentum || plan.feedback == Feedback::kEf21Sgdm;
  });
  need.Add("gradient", vector);
  need.Add("residual", remembers ? vector : 0);
  need.Add("momentum", averages ? vector : 0);
  const uint64_t payload = PayloadBytes(job);
  need.Add("payload", payload);
  need.Add("update, received and as it is applied", 2 * payload);
  need.Add("fixed", kFixed);
  return need;
}

}  // namespace gradwire
