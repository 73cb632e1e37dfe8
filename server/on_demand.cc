// SPDX-License-Identifier: Apache-2.0
// Implementation of on_demand.h.
#include "server/on_demand.h"

#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/kernels/vector.h"

namespace gradwire {

float OnDemand::Decide(uint64_t step, double norm, absl::Span<const float> parameters) {
  if (!active()) return 0;
  Test(step, parameters);
  const Perturbation& rule = job_->perturbation;
  const bool rested = last_ == 0 || step - last_ >= rule.wait;
  if (norm > rule.threshold || !rested) return 0;
  const float scale = Scale(step);
  if (scale == 0) return 0;
  Begin(step, parameters);
  LogInfo(absl::StrCat("step ", step, ": the aggregate's norm is ", norm, ", at most ",
                       rule.threshold, ": the parameters are perturbed"));
  return scale;
}

void OnDemand::Begin(uint64_t step, absl::Span<const float> parameters) {
  last_ = step;
  ++counts_.made;
  if (job_->perturbation.escape > 0) start_.assign(parameters.begin(), parameters.end());
}

void OnDemand::Replay(uint64_t step, float scale, absl::Span<const float> parameters) {
  if (!active()) return;
  Test(step, parameters);
  if (scale != 0) Begin(step, parameters);
}

std::vector<double> OnDemand::state() const {
  return {static_cast<double>(last_), static_cast<double>(counts_.made),
          static_cast<double>(counts_.escaped), static_cast<double>(counts_.stayed)};
}

bool OnDemand::Restore(absl::Span<const double> state, std::vector<float> start) {
  if (state.size() != 4 || (!start.empty() && start.size() != job_->layout.dimension())) {
    return false;
  }
  last_ = static_cast<uint64_t>(state[0]);
  counts_ = {.made = static_cast<uint64_t>(state[1]),
             .escaped = static_cast<uint64_t>(state[2]),
             .stayed = static_cast<uint64_t>(state[3])};
  start_ = std::move(start);
  return true;
}

void OnDemand::Test(uint64_t step, absl::Span<const float> parameters) {
  if (start_.empty()) return;
  const double moved = std::sqrt(SquaredDistance(parameters.data(), start_.data(), start_.size()));
  const bool escaped = moved >= job_->perturbation.escape;
  if (!escaped && step - last_ < job_->perturbation.wait) return;
  ++(escaped ? counts_.escaped : counts_.stayed);
  LogInfo(absl::StrCat("step ", step, ": ", step - last_, " steps after the perturbation the ",
                       "parameters have moved by ", moved,
                       escaped ? ": they have left a saddle"
                               : ": no strict saddle was found, the point looks second-order "
                                 "stationary"));
  start_.clear();
}

float OnDemand::Scale(uint64_t step) const {
  double squares = 0;
  for (size_t block = 0; block < job_->layout.blocks(); ++block) {
    squares += SquaredNormals(job_->Key(step, block), Purpose::kOnDemand);
  }
  const RandomKey key = {.seed = job_->config.seed(),
                         .purpose = Purpose::kOnDemand,
                         .step = step,
                         .block = std::numeric_limits<uint32_t>::max()};
  const double uniform = (static_cast<double>(RandomWords(key, 0)[0]) + 0.5) / 4294967296.0;
  if (squares == 0) return 0;  // one coordinate, and its normal is 0
  const auto dimension = static_cast<double>(job_->layout.dimension());
  // The result stands in the record: this pow need not be the same elsewhere.
  return static_cast<float>(job_->perturbation.radius * std::pow(uniform, 1 / dimension) /
                            std::sqrt(squares));
}

}  // namespace gradwire
