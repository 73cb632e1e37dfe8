// SPDX-License-Identifier: Apache-2.0
// The perturbation on_demand: when to make one, and whether the last one found a way out.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "common/replica/job.h"

namespace gradwire {

// Jin, Ge, Netrapalli, Kakade, Jordan 2017, with the escape test by displacement instead of
// function values (algorithms.md 2): parameters that come to a distance of `escape` from where
// they were perturbed, within `wait` steps, were at a strict saddle.  A test costs one pass over
// the parameters a step while it runs.  Not thread-safe.
class OnDemand {
 public:
  explicit OnDemand(std::shared_ptr<const Job> job) : job_(std::move(job)) {}

  bool active() const { return job_->perturbation.kind == Perturbation::Kind::kOnDemand; }

  // For update `step`, whose aggregate has this norm; `parameters` are those before it.  What the
  // update's header holds as perturbation_scale: 0, or radius U^(1/d) / |z| for a uniform U and the
  // standard normals z that the replicas add, so that the whole is uniform in the ball.
  float Decide(uint64_t step, double norm, absl::Span<const float> parameters);

  // In replay, in place of Decide: what it decided.
  void Replay(uint64_t step, float scale, absl::Span<const float> parameters);

  // All that it remembers, as numbers and the parameters at the start of the open test; and
  // back.  False: not what state() gives for this job.
  std::vector<double> state() const;
  const std::vector<float>& start() const { return start_; }
  bool Restore(absl::Span<const double> state, std::vector<float> start);

  struct Counts {
    uint64_t made = 0;
    uint64_t escaped = 0;
    uint64_t stayed = 0;  // no saddle found there
  };
  const Counts& counts() const { return counts_; }

 private:
  void Test(uint64_t step, absl::Span<const float> parameters);
  void Begin(uint64_t step, absl::Span<const float> parameters);
  float Scale(uint64_t step) const;

  const std::shared_ptr<const Job> job_;
  Counts counts_;
  uint64_t last_ = 0;         // step of the last perturbation; 0: none
  std::vector<float> start_;  // of the open test; empty: none
};

}  // namespace gradwire
