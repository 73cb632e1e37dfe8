// SPDX-License-Identifier: Apache-2.0
// Implementation of lazy_noise.h.
#include "server/lazy_noise.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/random/gaussian.h"

namespace gradwire {

LazyNoise::LazyNoise(std::shared_ptr<const Job> job)
    : job_(std::move(job)),
      active_(std::any_of(job_->plans.begin(), job_->plans.end(),
                          [](const BlockPlan& plan) { return plan.noise_at_server; })) {
  if (active_) drawn_.assign(job_->layout.dimension(), 0);
}

void LazyNoise::BeginStep(float learning_rate) {
  double std = static_cast<double>(job_->perturbation.std);
  if (job_->optimizer->units() == Units::kUpdate) std *= static_cast<double>(learning_rate);
  total_ += std * std;
}

void LazyNoise::AddTo(const BlockKey& key, size_t block_offset, BlockValues* mean) {
  if (!active_ || !job_->plans[key.block].noise_at_server) return;
  const RandomKey random = {
      .seed = key.seed, .purpose = Purpose::kPerturbation, .step = key.step, .block = key.number()};
  normals_.resize(mean->values.size());
  FillGaussians(random, absl::MakeSpan(normals_));
  for (size_t i = 0; i < mean->values.size(); ++i) {
    double& drawn = drawn_[block_offset + (mean->dense ? i : mean->indices[i])];
    mean->values[i] += static_cast<float>(std::sqrt(total_ - drawn)) * normals_[i];
    drawn = total_;
  }
}

void LazyNoise::NoteDrawn(const BlockKey& key, size_t block_offset, const BlockValues& mean) {
  if (!active_ || !job_->plans[key.block].noise_at_server) return;
  for (size_t i = 0; i < mean.values.size(); ++i) {
    drawn_[block_offset + (mean.dense ? i : mean.indices[i])] = total_;
  }
}

bool LazyNoise::Restore(double total, std::vector<double> drawn) {
  if (drawn.size() != drawn_.size()) return false;
  total_ = total;
  drawn_ = std::move(drawn);
  return true;
}

void LazyNoise::Forget() { std::fill(drawn_.begin(), drawn_.end(), total_); }

}  // namespace gradwire
