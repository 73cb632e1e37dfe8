// SPDX-License-Identifier: Apache-2.0
// Implementation of reset_rule.h.
#include "server/reset_rule.h"

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

bool ResetRule::Decide(const Round& round, v1::Header* header) {
  using Action = ResidualReset::Action;
  header->set_flushed(round.flush());
  bool resets = MeanIsLost(round, *header);
  if (resets) {
    LogInfo(absl::StrCat("step ", round.step(), ": other workers than before: the error feedback ",
                         "begins anew"));
  }
  if (!header->finished() && job_->reset.action != Action::kNone && IsDue(round.step())) {
    LogInfo(absl::StrCat("step ", round.step(), ": residuals are ",
                         job_->reset.action == Action::kReset ? "dropped" : "flushed"));
    resets = resets || job_->reset.action == Action::kReset;
    header->set_next_flush(job_->reset.action == Action::kFlush);
    last_ = round.step();
    starts_anew_ = true;
  }
  if (resets) ++reset_id_;
  header->set_reset_id(reset_id_);
  return resets;
}

bool ResetRule::IsDue(uint64_t step) const {
  const ResidualReset& rule = job_->reset;
  if (rule.steps > 0 && step - last_ >= rule.steps) return true;
  return rule.radius > 0 && displacement_.squared() >= rule.radius * rule.radius;
}

// EF21's mean is that of the workers' memories: one that is new, or gone, is not in it or still.
// It stays only while the step's members are those whose payloads were used, and the next ones.
bool ResetRule::MeanIsLost(const Round& round, const v1::Header& header) const {
  if (!job_->keeps_mean || header.finished()) return false;
  bool same = header.members_size() == header.used_size() &&
              round.members() == static_cast<size_t>(header.used_size());
  for (int i = 0; same && i < header.used_size(); ++i) {
    same = header.members(i).rank() == header.used(i).rank() &&
           header.members(i).incarnation() == header.used(i).incarnation();
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
