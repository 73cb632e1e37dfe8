// SPDX-License-Identifier: Apache-2.0
// Implementation of reset_rule.h.
#include "server/reset_rule.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/kernels/vector.h"

namespace gradwire {

void Displacement::Start(absl::Span<const float> parameters) {
  reference_.assign(parameters.begin(), parameters.end());
  squared_ = 0;
}

double Displacement::Part(absl::Span<const float> parameters, const Touched& touched) const {
  if (touched.all) {
    return SquaredDistance(parameters.data(), reference_.data(), reference_.size());
  }
  double sum = 0;
  for (const size_t i : touched.coordinates) {
    const double distance = double{parameters[i]} - double{reference_[i]};
    sum += distance * distance;
  }
  return sum;
}

void Displacement::Leave(absl::Span<const float> parameters, const Touched& touched) {
  if (!touched.all) squared_ -= Part(parameters, touched);
}

void Displacement::Arrive(absl::Span<const float> parameters, const Touched& touched) {
  squared_ = touched.all ? Part(parameters, touched) : squared_ + Part(parameters, touched);
}

void Displacement::Restore(double squared, std::vector<float> reference) {
  squared_ = squared;
  reference_ = std::move(reference);
}

bool ResetRule::Decide(const Round& round, v1::Header* header) {
  using Action = ResidualReset::Action;
  header->set_flushed(round.flush());
  bool resets = MeanIsLost(round, *header);
  if (resets) {
    LogInfo(absl::StrCat("step ", round.step(), ": other workers than before: the error feedback ",
                         "begins anew"));
  }
  if (!header->finished() && IsDue(round.step())) {
    LogInfo(absl::StrCat("step ", round.step(), ": residuals are ",
                         job_->reset.action == Action::kReset ? "dropped" : "flushed"));
    resets = resets || job_->reset.action == Action::kReset;
    header->set_next_flush(job_->reset.action == Action::kFlush);
    Begin(round.step());
  }
  if (resets) ++reset_id_;
  header->set_reset_id(reset_id_);
  return resets;
}

void ResetRule::Begin(uint64_t step) {
  last_ = step;
  starts_anew_ = true;
}

void ResetRule::Replay(uint64_t step, const v1::Header& header) {
  if (!header.finished() && IsDue(step)) Begin(step);
  reset_id_ = header.reset_id();
}

std::vector<double> ResetRule::state() const {
  return {static_cast<double>(reset_id_), static_cast<double>(last_), started_ ? 1.0 : 0.0,
          displacement_.squared()};
}

bool ResetRule::Restore(absl::Span<const double> state, std::vector<float> reference) {
  if (state.size() != 4) return false;
  started_ = state[2] != 0;
  if (reference.size() != (started_ ? job_->layout.dimension() : 0)) return false;
  reset_id_ = static_cast<uint64_t>(state[0]);
  last_ = static_cast<uint64_t>(state[1]);
  starts_anew_ = false;  // between updates it is always so
  displacement_.Restore(state[3], std::move(reference));
  return true;
}

bool ResetRule::IsDue(uint64_t step) const {
  const ResidualReset& rule = job_->reset;
  if (rule.action == ResidualReset::Action::kNone) return false;
  if (rule.steps > 0 && step - last_ >= rule.steps) return true;
  return rule.radius > 0 && displacement_.squared() >= rule.radius * rule.radius;
}

// EF21's mean is that of the workers' memories: one that is new, or gone, is not in it or still.
// It stays only while the step's members are those whose payloads were used, and the next ones.
// A fixed member that returns has its memory back, or says that it is fresh.
bool ResetRule::MeanIsLost(const Round& round, const v1::Header& header) const {
  if (!job_->keeps_mean || header.finished()) return false;
  bool same = header.members_size() == header.used_size() &&
              round.members() == static_cast<size_t>(header.used_size());
  const bool fixed = job_->config.membership().mode() == v1::Membership::FIXED;
  for (int i = 0; same && i < header.used_size(); ++i) {
    same = header.members(i).rank() == header.used(i).rank() &&
           (fixed || header.members(i).incarnation() == header.used(i).incarnation());
  }
  const bool just_reset = round.step() == 1 || round.reset_before();
  return !same || (round.any_fresh_memory() && !just_reset);
}

void ResetRule::Before(absl::Span<const float> parameters, const Touched& touched) {
  if (!follows_distance()) return;
  if (!started_) displacement_.Start(parameters);
  started_ = true;
  displacement_.Leave(parameters, touched);
}

void ResetRule::After(absl::Span<const float> parameters, const Touched& touched) {
  if (!follows_distance()) return;
  displacement_.Arrive(parameters, touched);
  if (starts_anew_) displacement_.Start(parameters);
  starts_anew_ = false;
}

}  // namespace gradwire
