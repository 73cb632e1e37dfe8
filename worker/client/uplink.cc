// SPDX-License-Identifier: Apache-2.0
// The worker's error feedback: one pass over gradient and residual a step.
#include "worker/client/uplink.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/kernels/vector.h"
#include "common/rpc/limits.h"

namespace gradwire {

bool ReplicaHashDue(const Job& job, uint64_t step) {
  const uint64_t every = job.config.hash_every();
  return every > 0 && (step - 1) % every == 0;
}

Uplink::Uplink(std::shared_ptr<const Job> job)
    : job_(std::move(job)), residual_(job_->layout.dimension(), 0.0f) {}

absl::Status Uplink::Encode(const OpenStep& open, absl::Span<float> gradient,
                            const StepReport& report) {
  if (gradient.size() != residual_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the gradient of step ", open.step, " has ",
                                                   gradient.size(), " values; the job's model has ",
                                                   residual_.size()));
  }
  if (held_step_ != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("step ", open.step, " cannot be encoded: no update has yet answered the ",
                     "payload of step ", held_step_));
  }
  SetFloatEnvironment();
  const float scale = job_->optimizer->units() == Units::kUpdate ? open.learning_rate : 1.0f;
  const std::string not_finite = AddNoiseAndCheck(open, scale, gradient);
  held_step_ = open.step;
  abstained_ = !not_finite.empty();
  NewMessage(open);
  if (!abstained_) EncodeBlocks(open, scale, gradient);

  v1::GradientEnd* end = held_.back().mutable_gradient()->mutable_end();
  end->set_abstained(abstained_);
  end->set_abstain_reason(not_finite);
  end->set_loss(report.loss);
  end->set_samples(report.samples);
  if (report.evaluation.has_value()) *end->mutable_evaluation() = *report.evaluation;
  end->set_has_replica_hash(open.replica_hash.has_value());
  end->set_replica_hash(open.replica_hash.value_or(0));
  return absl::OkStatus();
}

// Says which coordinate is not finite, or nothing.  All blocks are checked before any
// is encoded, because encoding overwrites the residual.
std::string Uplink::AddNoiseAndCheck(const OpenStep& open, float scale,
                                     absl::Span<float> gradient) const {
  const Layout& layout = job_->layout;
  for (uint32_t block = 0; block < layout.blocks(); ++block) {
    const size_t offset = layout.block_offset(block);
    const size_t size = layout.block_size(block);
    const absl::Span<float> values = gradient.subspan(offset, size);
    const float* residual = residual_.data() + offset;
    if (!job_->codec->linear()) job_->perturbation.AddTo(KeyOf(open.step, block), values);
    const size_t bad = FirstNonFiniteSum(residual, scale, values.data(), size);
    if (bad == size) continue;
    return absl::StrCat("the gradient at ", layout.CoordinateName(offset + bad), " is ",
                        values[bad], " (with a residual of ", residual[bad], "), not finite");
  }
  return "";
}

void Uplink::EncodeBlocks(const OpenStep& open, float scale, absl::Span<const float> gradient) {
  size_t message_bytes = 0;
  for (uint32_t block = 0; block < job_->layout.blocks(); ++block) {
    const size_t offset = job_->layout.block_offset(block);
    const size_t size = job_->layout.block_size(block);
    AddScaled(scale, gradient.data() + offset, residual_.data() + offset, size);
    std::string payload;
    job_->codec->Encode(KeyOf(open.step, block), absl::MakeSpan(residual_).subspan(offset, size),
                        &payload);
    v1::Gradient* message = held_.back().mutable_gradient();
    if (message_bytes > 0 && message_bytes + payload.size() > kMaxPayloadBytesPerMessage) {
      message = NewMessage(open);
      message_bytes = 0;
    }
    message_bytes += payload.size();
    v1::BlockPayload* to = message->add_blocks();
    to->set_block(block);
    to->set_payload(std::move(payload));
  }
}

v1::Gradient* Uplink::NewMessage(const OpenStep& open) {
  v1::Gradient* message = held_.emplace_back().mutable_gradient();
  message->set_step(open.step);
  message->set_base_chain_hash(std::string(AsView(open.base_chain_hash)));
  message->set_codec(job_->codec->id());
  return message;
}

absl::Span<const v1::TrainRequest> Uplink::Messages(const MemberKey& as) {
  if (std::find(sent_as_.begin(), sent_as_.end(), as) == sent_as_.end()) sent_as_.push_back(as);
  return held_;
}

absl::Status Uplink::Resolve(uint64_t version, const v1::Header& header) {
  const bool reset = reset_id_.has_value() && *reset_id_ != header.reset_id();
  reset_id_ = header.reset_id();
  if (held_step_ != 0 && held_step_ == version) {
    if (!reset && !abstained_ && !WasUsed(header)) GRADWIRE_RETURN_IF_ERROR(TakeBack());
    Drop();
  }
  if (reset) std::fill(residual_.begin(), residual_.end(), 0.0f);
  return absl::OkStatus();
}

bool Uplink::WasUsed(const v1::Header& header) const {
  return std::any_of(header.used().begin(), header.used().end(), [&](const v1::Contributor& used) {
    const MemberKey key = {used.rank(), used.incarnation()};
    return std::find(sent_as_.begin(), sent_as_.end(), key) != sent_as_.end();
  });
}

// What the payload holds is what a server would have decoded: the mean of it alone.
absl::Status Uplink::TakeBack() {
  SetFloatEnvironment();
  Accumulator sum;
  BlockValues decoded;
  for (const v1::TrainRequest& message : held_) {
    for (const v1::BlockPayload& block : message.gradient().blocks()) {
      const BlockKey key = KeyOf(held_step_, block.block());
      sum.Clear();
      GRADWIRE_RETURN_IF_ERROR(job_->codec->Accumulate(key, block.payload(), &sum));
      job_->codec->Mean(key, sum, &decoded);
      float* residual = residual_.data() + job_->layout.block_offset(block.block());
      if (decoded.dense) {
        Add(decoded.values.data(), residual, key.size);
        continue;
      }
      for (size_t i = 0; i < decoded.indices.size(); ++i) {
        residual[decoded.indices[i]] += decoded.values[i];
      }
    }
  }
  return absl::OkStatus();
}

BlockKey Uplink::KeyOf(uint64_t step, uint32_t block) const {
  return {.seed = job_->config.seed(),
          .step = step,
          .block = block,
          .size = job_->layout.block_size(block)};
}

void Uplink::Drop() {
  held_.clear();
  sent_as_.clear();
  held_step_ = 0;
  abstained_ = false;
}

void Uplink::Reset() {
  Drop();
  std::fill(residual_.begin(), residual_.end(), 0.0f);
  reset_id_.reset();
}

}  // namespace gradwire
