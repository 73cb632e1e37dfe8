// SPDX-License-Identifier: Apache-2.0
// Implementation of downlink.h.
#include "server/downlink.h"

#include <algorithm>
#include <utility>

#include "common/codec/block_values.h"
#include "common/kernels/vector.h"

namespace gradwire {

Downlink::Downlink(std::shared_ptr<const Job> job) : job_(std::move(job)) {
  for (size_t block = 0; block < job_->plans.size(); ++block) {
    if (HasResidual(block)) residual_.resize(job_->layout.dimension());
  }
}

bool Downlink::Restore(std::vector<float> residual) {
  if (residual.size() != residual_.size()) return false;
  residual_ = std::move(residual);
  return true;
}

bool Downlink::HasResidual(size_t block) const {
  const BlockPlan& plan = job_->plans[block];
  return plan.compress_down && plan.feedback == Feedback::kClassic;
}

void Downlink::AddResidual(size_t block, BlockValues* mean) const {
  if (!HasResidual(block)) return;
  const Block& range = job_->layout.block(block);
  MakeDense(range.size, mean);
  Add(residual_.data() + range.offset, mean->values.data(), range.size);
}

void Downlink::Encode(const BlockKey& key, bool flush, BlockValues* mean, std::string* payload) {
  const Codec& codec = job_->CodecOf(key.block, flush);
  const bool flushed = flush && job_->plans[key.block].feedback == Feedback::kClassic;
  if (!job_->plans[key.block].compress_down || flushed) {
    codec.EncodeUpdate(key, *mean, payload);
    if (HasResidual(key.block)) {
      std::fill_n(residual_.data() + job_->layout.block_offset(key.block), key.size, 0.0f);
    }
    return;
  }
  MakeDense(key.size, mean);
  codec.Encode(key, absl::MakeSpan(mean->values), payload);
  if (!HasResidual(key.block)) return;
  std::copy(mean->values.begin(), mean->values.end(),
            residual_.begin() + static_cast<ptrdiff_t>(job_->layout.block_offset(key.block)));
}

void Downlink::Reset() { std::fill(residual_.begin(), residual_.end(), 0.0f); }

}  // namespace gradwire
