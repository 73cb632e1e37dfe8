// SPDX-License-Identifier: Apache-2.0
// Implementation of server_memory.h.
#include "server/server_memory.h"

#include <algorithm>

#include "common/rpc/limits.h"

namespace gradwire {
namespace {

constexpr uint64_t kFixed = uint64_t{64} << 20;       // the program, gRPC, its threads
constexpr uint64_t kPerWorker = uint64_t{256} << 10;  // a connection, a stream, a lease

// The sums of one round.  Only where the coordinates are drawn is a sum shorter than its block.
uint64_t AggregateBytes(const Job& job) {
  double values = 0;
  for (size_t b = 0; b < job.plans.size(); ++b) {
    values += job.plans[b].traits.kept_at_random * static_cast<double>(job.layout.block_size(b));
  }
  return static_cast<uint64_t>(values * sizeof(float));
}

// Of one block, at each thread that combines one: every member's payload, decoded.
uint64_t DecodedBytes(const Job& job, uint64_t workers, uint64_t threads) {
  if (job.aggregator == nullptr) return 0;
  double most = 0;
  for (size_t b = 0; b < job.plans.size(); ++b) {
    const CodecTraits& traits = job.plans[b].traits;
    const bool indices = traits.kept_at_random < 1 || traits.alone != Alone::kCoordinates;
    const size_t bytes = sizeof(float) + (indices ? sizeof(uint32_t) : 0);
    most = std::max(most,
                    traits.kept_at_random * static_cast<double>(bytes * job.layout.block_size(b)));
  }
  return static_cast<uint64_t>(most) * workers * std::min<uint64_t>(threads, job.plans.size());
}

// What a server keeps between steps beside its replica.
struct Kept {
  uint64_t residual = 0;
  uint64_t noise_clocks = 0;
  uint64_t references = 0;
  uint64_t codec_state = 0;

  explicit Kept(const Job& job) {
    const uint64_t dimension = job.layout.dimension();
    for (size_t b = 0; b < job.plans.size(); ++b) {
      const BlockPlan& plan = job.plans[b];
      if (plan.compress_down && plan.feedback == Feedback::kClassic) {
        residual = dimension * sizeof(float);
      }
      if (plan.noise_at_server) noise_clocks = dimension * sizeof(double);
      codec_state += plan.codec->server_state_size(job.Key(0, b)) * sizeof(float);
    }
    if (job.reset.radius > 0) references += dimension * sizeof(float);
    if (job.perturbation.escape > 0) references += dimension * sizeof(float);
  }
  uint64_t total() const { return residual + noise_clocks + references + codec_state; }
};

}  // namespace

MemoryNeed ServerMemoryNeed(const Job& job, const ServerMemoryOptions& options) {
  MemoryNeed need;
  AddReplica(job, &need);
  const uint64_t replica = need.total();
  const Kept kept(job);
  need.Add("the server's residual", kept.residual);
  need.Add("noise clocks", kept.noise_clocks);
  need.Add("parameters at the last reset", kept.references);
  need.Add("codec state", kept.codec_state);

  const uint64_t workers = job.config.membership().workers();
  const uint64_t payload = PayloadBytes(job);
  const bool async = job.config.consistency() == v1::ASYNC;
  // One that is made, with its bytes for the log and its blocks as they are applied, and the
  // newest.
  const uint64_t updates = 4 * payload + std::min<uint64_t>(options.cached_log, 1000 * payload);
  const uint64_t aggregate = AggregateBytes(job) * (async ? workers : 1);
  const uint64_t decoded = DecodedBytes(job, workers, options.threads);
  uint64_t waiting = payload * workers;
  if (!async && !job.keeps_payloads()) {
    waiting = std::min<uint64_t>(waiting, options.in_flight + workers * kMaxMessageBytes);
  }
  need.Add("aggregate", aggregate);
  need.Add("payloads decoded one by one", decoded);
  need.Add("updates", updates);
  need.Add("payloads in flight", async ? 0 : waiting);
  // A restart has no round yet, but a snapshot's bytes beside what is made of them.
  const uint64_t round = aggregate + decoded + updates + (async ? 0 : waiting);
  const uint64_t restart = replica + 2 * kept.total();
  need.Add("a snapshot as it is read, beyond a round", restart > round ? restart - round : 0);
  need.Add("stream windows", workers * options.stream_window);
  need.Add("fixed", kFixed + workers * kPerWorker);
  return need;
}

}  // namespace gradwire
