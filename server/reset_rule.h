// SPDX-License-Identifier: Apache-2.0
// When residuals are given up or flushed: decided here, for all workers together.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "common/replica/job.h"
#include "gradwire/v1/gradient.pb.h"
#include "server/round.h"

namespace gradwire {

// The coordinates that an update changes.
struct Touched {
  bool all = true;
  std::vector<size_t> coordinates = {};  // when not all

  void Add(const Touched& more) {
    all = all || more.all;
    if (!all)
      coordinates.insert(coordinates.end(), more.coordinates.begin(), more.coordinates.end());
  }
};

// The distance of the parameters from where they were at the last reset, kept in the work of
// the coordinates that change: |x - x_ref|^2.  Not thread-safe.
class Displacement {
 public:
  void Start(absl::Span<const float> parameters);
  // Around each update, with the parameters before and after it.
  void Leave(absl::Span<const float> parameters, const Touched& touched);
  void Arrive(absl::Span<const float> parameters, const Touched& touched);
  double squared() const { return squared_; }
  const std::vector<float>& reference() const { return reference_; }
  void Restore(double squared, std::vector<float> reference);

 private:
  double Part(absl::Span<const float> parameters, const Touched& touched) const;

  std::vector<float> reference_;
  double squared_ = 0;
};

// Not thread-safe.
class ResetRule {
 public:
  explicit ResetRule(std::shared_ptr<const Job> job) : job_(std::move(job)) {}

  // Sets reset_id, flushed and next_flush of the round's update.  `header` names who was used and
  // the next members.  True when the update is the last before a reset.  By distance it decides
  // on the parameters before this update.
  bool Decide(const Round& round, v1::Header* header);

  // In replay, in place of Decide: what it decided.
  void Replay(uint64_t step, const v1::Header& header);

  // All that it remembers, as numbers and the parameters at the last reset; and back.  False:
  // not what state() gives for this job.
  std::vector<double> state() const;
  const std::vector<float>& reference() const { return displacement_.reference(); }
  bool Restore(absl::Span<const double> state, std::vector<float> reference);

  // Whether Before and After need to know what an update touches.
  bool follows_distance() const { return job_->reset.radius > 0; }
  void Before(absl::Span<const float> parameters, const Touched& touched);
  void After(absl::Span<const float> parameters, const Touched& touched);

 private:
  bool IsDue(uint64_t step) const;
  void Begin(uint64_t step);
  bool MeanIsLost(const Round& round, const v1::Header& header) const;

  const std::shared_ptr<const Job> job_;
  uint64_t reset_id_ = 0;
  uint64_t last_ = 0;         // the update after which residuals were last given up
  bool starts_anew_ = false;  // with the parameters after the update being made
  bool started_ = false;
  Displacement displacement_;
};

}  // namespace gradwire
