// SPDX-License-Identifier: Apache-2.0
// Implementation of error_memory.h.
#include "worker/client/error_memory.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/codec/block_values.h"
#include "common/kernels/vector.h"

namespace gradwire {
namespace {

// values += sign * what the payload stands for.
absl::Status AddDecoded(const Codec& codec, const BlockKey& key, absl::string_view payload,
                        float sign, absl::Span<float> values) {
  BlockValues decoded;
  GRADWIRE_RETURN_IF_ERROR(DecodePayload(codec, key, payload, &decoded));
  AddBlockTo(decoded, sign, values);
  return absl::OkStatus();
}

bool Remembers(const BlockPlan& plan) { return plan.feedback != Feedback::kNone; }

// The first i for which scale * values[i] is NaN or infinite, or their number.
size_t FirstNonFiniteProduct(float scale, absl::Span<const float> values) {
  size_t i = FirstNonFinite(values.data(), values.size());
  if (std::abs(scale) <= 1) return i;
  const auto* const end = values.begin() + i;
  return static_cast<size_t>(
      std::find_if(values.begin(), end, [scale](float x) { return !std::isfinite(scale * x); }) -
      values.begin());
}

bool Averages(const BlockPlan& plan) {
  return plan.traits.momentum || plan.feedback == Feedback::kEf21Sgdm;
}

absl::Status CheckValues(absl::string_view name, const std::vector<float>& values, size_t wanted) {
  if (values.size() != wanted) {
    return absl::InvalidArgumentError(
        absl::StrCat("the ", name, " has ", values.size(), " values, this job's has ", wanted));
  }
  const size_t bad = FirstNonFinite(values.data(), values.size());
  if (bad == values.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("value ", bad, " of the ", name, " is ", values[bad], ", not finite"));
}

}  // namespace

ErrorMemory::ErrorMemory(std::shared_ptr<const Job> job)
    : job_(std::move(job)), zero_(job_->layout.blocks(), true) {
  const auto& plans = job_->plans;
  if (std::any_of(plans.begin(), plans.end(), Remembers)) memory_.Reset(job_->layout.dimension());
  if (std::any_of(plans.begin(), plans.end(), Averages)) momentum_.resize(job_->layout.dimension());
}

absl::Span<float> ErrorMemory::BlockOf(absl::Span<float> values, size_t block) const {
  const Block& range = job_->layout.block(block);
  return values.subspan(range.offset, range.size);
}

size_t ErrorMemory::FirstNonFinite(float learning_rate, absl::Span<const float> gradient) {
  if (SurelyFinite(learning_rate, gradient)) return gradient.size();
  return SearchNonFinite(learning_rate, gradient);
}

// By magnitudes alone.  Those in memory are read only when their bound, which every step raises by
// what the worst codec could leave, has grown too high to tell.
bool ErrorMemory::SurelyFinite(float learning_rate, absl::Span<const float> gradient) {
  constexpr float kFar = 1e37f;
  const float most = MaxMagnitude(gradient.data(), gradient.size());
  const float part = most * std::max(1.0f, std::abs(learning_rate));
  if (!(bound_ + part <= kFar)) bound_ = MaxMagnitude(memory_.data(), memory_.size());
  reach_ = bound_ + part;
  return reach_ <= kFar;
}

size_t ErrorMemory::SearchNonFinite(float learning_rate, absl::Span<const float> gradient) const {
  for (size_t b = 0; b < job_->layout.blocks(); ++b) {
    const Block& range = job_->layout.block(b);
    const BlockPlan& plan = job_->plans[b];
    const float sign = plan.keeps_mean() ? -1.0f : 1.0f;
    const float scale = plan.units == Units::kUpdate ? learning_rate : sign;
    const absl::Span<const float> values = gradient.subspan(range.offset, range.size);
    const size_t bad = Remembers(plan) ? FirstNonFiniteSum(memory_.data() + range.offset, scale,
                                                           values.data(), range.size)
                                       : FirstNonFiniteProduct(scale, values);
    if (bad != range.size) return range.offset + bad;
  }
  return gradient.size();
}

void ErrorMemory::Prepare(const WorkerStep& step, absl::Span<float> gradient) {
  for (size_t b = 0; b < job_->layout.blocks(); ++b) {
    const Block& range = job_->layout.block(b);
    const BlockPlan& plan = job_->plans[b];
    if (!Averages(plan)) continue;
    const absl::Span<float> values = gradient.subspan(range.offset, range.size);
    const absl::Span<float> momentum = BlockOf(absl::MakeSpan(momentum_), b);
    if (plan.traits.momentum) plan.codec->Prepare(job_->Key(0, b), step, values, momentum);
    if (plan.feedback != Feedback::kEf21Sgdm) continue;
    const float beta = fresh_ ? 1.0f : job_->feedback.beta;
    for (size_t i = 0; i < values.size(); ++i) {
      momentum[i] = (1.0f - beta) * momentum[i] + beta * values[i];
      values[i] = momentum[i];
    }
  }
  fresh_ = false;
}

void ErrorMemory::Encode(const BlockKey& key, bool flush, absl::Span<float> gradient,
                         std::string* payload) {
  // A decoded value can be as large as the norm of a block: its greatest magnitude times the root
  // of kBlockSize, and a factor for codecs that round away from zero.
  constexpr float kMostLeft = 4096;
  bound_ = std::max(bound_, kMostLeft * reach_);
  const BlockPlan& plan = job_->plans[key.block];
  const Codec& codec = job_->CodecOf(key.block, flush);
  if (plan.keeps_mean()) return EncodeDifference(key, gradient, payload);
  const bool lossless = codec.traits().lossless;
  if (!Remembers(plan) || (lossless && zero_[key.block])) {
    codec.Encode(key, Scaled(key.unit, gradient), payload);
  } else {
    const absl::Span<float> residual = BlockOf(memory_.span(), key.block);
    codec.AddAndEncode(key, gradient, residual, payload);
    if (lossless) std::fill(residual.begin(), residual.end(), 0.0f);
    zero_[key.block] = lossless;
  }
  if (!plan.traits.momentum) return;
  const absl::Span<float> momentum = BlockOf(absl::MakeSpan(momentum_), key.block);
  if (flush) {
    std::fill(momentum.begin(), momentum.end(), 0.0f);
  } else {
    codec.Sent(key, *payload, momentum);
  }
}

// By the arithmetic of a residual that is 0: the same bits, down to the sign of a zero.
absl::Span<float> ErrorMemory::Scaled(float unit, absl::Span<const float> gradient) {
  constexpr size_t kRun = 4096;  // stays in the first-level cache
  scaled_.resize(gradient.size());
  for (size_t i = 0; i < gradient.size(); i += kRun) {
    const size_t n = std::min(kRun, gradient.size() - i);
    std::fill_n(&scaled_[i], n, 0.0f);
    AddScaled(unit, &gradient[i], &scaled_[i], n);
  }
  return absl::MakeSpan(scaled_);
}

void ErrorMemory::EncodeDifference(const BlockKey& key, absl::Span<float> gradient,
                                   std::string* payload) {
  const Codec& codec = *job_->plans[key.block].codec;
  const absl::Span<float> sent = BlockOf(memory_.span(), key.block);
  Subtract(sent.data(), gradient.data(), gradient.size());
  codec.Encode(key, gradient, payload);
  // The codec's own payload decodes; h grows by the bits that the server adds.
  (void)AddDecoded(codec, key, *payload, 1.0f, sent);
}

absl::Status ErrorMemory::TakeBack(const BlockKey& key, bool flush, absl::string_view payload) {
  const BlockPlan& plan = job_->plans[key.block];
  if (!Remembers(plan)) return absl::OkStatus();
  bound_ = std::numeric_limits<float>::infinity();
  zero_[key.block] = false;
  return AddDecoded(job_->CodecOf(key.block, flush), key, payload, plan.keeps_mean() ? -1.0f : 1.0f,
                    BlockOf(memory_.span(), key.block));
}

ErrorMemory::Contents ErrorMemory::contents() const {
  const absl::Span<const float> residual = memory_.span();
  return {.fresh = fresh_, .residual = {residual.begin(), residual.end()}, .momentum = momentum_};
}

absl::Status ErrorMemory::Load(Contents contents) {
  GRADWIRE_RETURN_IF_ERROR(CheckValues("residual", contents.residual, memory_.size()));
  GRADWIRE_RETURN_IF_ERROR(CheckValues("momentum", contents.momentum, momentum_.size()));
  std::copy(contents.residual.begin(), contents.residual.end(), memory_.data());
  momentum_ = std::move(contents.momentum);
  bound_ = std::numeric_limits<float>::infinity();
  zero_.assign(zero_.size(), false);
  fresh_ = contents.fresh;
  return absl::OkStatus();
}

void ErrorMemory::Reset() {
  memory_.Reset(memory_.size());
  std::fill(momentum_.begin(), momentum_.end(), 0.0f);
  bound_ = 0;
  zero_.assign(zero_.size(), true);
  fresh_ = true;
}

}  // namespace gradwire
