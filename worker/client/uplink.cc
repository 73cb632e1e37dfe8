// SPDX-License-Identifier: Apache-2.0
// Implementation of uplink.h.
#include "worker/client/uplink.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/kernels/vector.h"
#include "common/replica/block_codec.h"
#include "common/rpc/limits.h"

namespace gradwire {

bool ReplicaHashDue(const Job& job, uint64_t step) {
  const uint64_t every = job.config.hash_every();
  return every > 0 && (step - 1) % every == 0;
}

Uplink::Uplink(std::shared_ptr<const Job> job)
    : job_(std::move(job)),
      memory_(job_),
      held_(std::make_shared<std::vector<v1::TrainRequest>>()) {}

absl::Status Uplink::Encode(const OpenStep& open, absl::Span<float> gradient,
                            const StepReport& report) {
  if (gradient.size() != job_->layout.dimension()) {
    return absl::InvalidArgumentError(absl::StrCat("the gradient of step ", open.step, " has ",
                                                   gradient.size(), " values; the job's model has ",
                                                   job_->layout.dimension()));
  }
  if (held_step_ != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("step ", open.step, " cannot be encoded: no update has yet answered the ",
                     "payload of step ", held_step_));
  }
  SetFloatEnvironment();
  const bool fresh = memory_.fresh();
  const std::string not_finite =
      report.abstain_reason.empty() ? Prepare(open, gradient) : report.abstain_reason;
  held_step_ = open.step;
  held_flush_ = open.flush;
  held_rank_ = open.rank;
  same_bits_from_ = open.same_bits_from;
  held_bases_.assign(open.bases.begin(), open.bases.end());
  abstained_ = !not_finite.empty();
  NewMessage(open)->set_lead_header(std::string(open.lead_header));
  if (!abstained_) EncodeBlocks(open, gradient);

  v1::GradientEnd* end = held_->back().mutable_gradient()->mutable_end();
  end->set_abstained(abstained_);
  end->set_abstain_reason(not_finite);
  end->set_loss(report.loss);
  end->set_samples(report.samples);
  if (report.evaluation.has_value()) *end->mutable_evaluation() = *report.evaluation;
  end->set_has_replica_hash(open.replica_hash.has_value());
  end->set_replica_hash(open.replica_hash.value_or(0));
  end->set_fresh_memory(fresh && !abstained_);
  return absl::OkStatus();
}

// Everything that comes before encoding, which overwrites what is remembered.  Says which
// coordinate is not finite, or nothing.
std::string Uplink::Prepare(const OpenStep& open, absl::Span<float> gradient) {
  AddNoise(open.step, gradient);
  std::string not_finite = WhatIsNotFinite(open, gradient);
  if (!not_finite.empty()) return not_finite;
  WorkerStep step = {.members = open.members};
  const bool needs_norm = std::any_of(job_->plans.begin(), job_->plans.end(),
                                      [](const BlockPlan& plan) { return plan.traits.needs_norm; });
  if (needs_norm) step.gradient_norm = std::sqrt(SumOfSquares(gradient.data(), gradient.size()));
  memory_.Prepare(step, gradient);
  return memory_.averages() ? WhatIsNotFinite(open, gradient) : "";
}

// The same noise at every worker, so that its mean is itself.
void Uplink::AddNoise(uint64_t step, absl::Span<float> gradient) const {
  const Perturbation& noise = job_->perturbation;
  if (!noise.every_step()) return;
  float scale = noise.std;
  if (noise.kind == Perturbation::Kind::kSphere) {
    double squares = 0;
    for (uint32_t block = 0; block < job_->layout.blocks(); ++block) {
      squares += SquaredNormals(job_->Key(step, block), Purpose::kPerturbation);
    }
    const auto dimension = static_cast<double>(gradient.size());
    if (squares == 0) return;  // one coordinate, and its normal is 0
    scale = static_cast<float>(double{noise.std} * std::sqrt(dimension / squares));
  }
  for (uint32_t block = 0; block < job_->layout.blocks(); ++block) {
    if (job_->plans[block].noise_at_server) continue;
    const Block& range = job_->layout.block(block);
    AddNormals(job_->Key(step, block), Purpose::kPerturbation, scale,
               gradient.subspan(range.offset, range.size));
  }
}

std::string Uplink::WhatIsNotFinite(const OpenStep& open, absl::Span<const float> gradient) {
  const size_t bad = memory_.FirstNonFinite(open.learning_rate, gradient);
  if (bad == gradient.size()) return "";
  const absl::Span<const float> memory = residual();
  const float remembered = memory.empty() ? 0.0f : memory[bad];
  return absl::StrCat("the gradient at ", job_->layout.CoordinateName(bad), " is ", gradient[bad],
                      " (with a residual of ", remembered, ", at a learning rate of ",
                      open.learning_rate, "), not finite");
}

void Uplink::EncodeBlocks(const OpenStep& open, absl::Span<float> gradient) {
  // One that names many members has a message of its own.
  const size_t header = open.lead_header.size();
  size_t message_bytes = header > kMaxHeaderBesideBlocks ? header : 0;
  for (uint32_t block = 0; block < job_->layout.blocks(); ++block) {
    const Block& range = job_->layout.block(block);
    BlockKey key = KeyOf(open.step, block);
    key.rank = open.rank;
    if (job_->plans[block].units == Units::kUpdate) key.unit = open.learning_rate;
    std::string payload;
    memory_.Encode(key, open.flush, gradient.subspan(range.offset, range.size), &payload);
    v1::Gradient* message = held_->back().mutable_gradient();
    if (message->blocks_size() == kMaxBlocksPerMessage ||
        (message_bytes > 0 && message_bytes + payload.size() > kMaxPayloadBytesPerMessage)) {
      message = NewMessage(open);
      message_bytes = 0;
    }
    message_bytes += payload.size();
    AddBlock(block, job_->CodecOf(block, open.flush).id(), std::move(payload), message);
  }
}

v1::Gradient* Uplink::NewMessage(const OpenStep& open) {
  v1::Gradient* message = held_->emplace_back().mutable_gradient();
  message->set_step(open.step);
  message->set_base_chain_hash(std::string(AsView(open.base_chain_hash)));
  message->set_codec(job_->CodecOf(0, open.flush).id());
  return message;
}

absl::Span<const v1::TrainRequest> Uplink::Messages(const MemberKey& as) {
  if (!SentAs(as)) sent_as_.push_back(as);
  return *held_;
}

absl::Status Uplink::Resolve(uint64_t version, const v1::Header& header) {
  const bool reset = reset_id_.has_value() && *reset_id_ != header.reset_id();
  reset_id_ = header.reset_id();
  if (held_step_ != 0 && IsAnswered(version, header)) {
    // One that was left out as too large is lost: with it in the residual the next would be larger.
    const bool gone = Names(header.used()) || Names(header.too_large());
    if (!reset && !abstained_ && !gone) GRADWIRE_RETURN_IF_ERROR(TakeBack());
    Drop();
  }
  if (reset) memory_.Reset();
  return absl::OkStatus();
}

bool Uplink::IsAnswered(uint64_t version, const v1::Header& header) const {
  if (job_->config.consistency() != v1::ASYNC) return held_step_ == version;
  const v1::AsyncAnswer& answer = header.answer();
  return answer.step() == held_step_ && SentAs({answer.rank(), answer.incarnation()});
}

bool Uplink::SentAs(const MemberKey& member) const {
  return std::find(sent_as_.begin(), sent_as_.end(), member) != sent_as_.end();
}

absl::Status Uplink::Withdraw() {
  if (!abstained_) GRADWIRE_RETURN_IF_ERROR(TakeBack());
  Drop();
  return absl::OkStatus();
}

bool Uplink::Names(const Contributors& contributors) const {
  return std::any_of(contributors.begin(), contributors.end(), [&](const v1::Contributor& one) {
    const MemberKey key = {one.rank(), one.incarnation()};
    if (same_bits_from_.has_value() && key.rank == held_rank_ &&
        key.incarnation >= *same_bits_from_) {
      return true;
    }
    return SentAs(key);
  });
}

absl::Status Uplink::TakeBack() {
  SetFloatEnvironment();
  for (const v1::TrainRequest& message : *held_) {
    for (const v1::BlockPayload& block : message.gradient().blocks()) {
      GRADWIRE_RETURN_IF_ERROR(
          memory_.TakeBack(KeyOf(held_step_, block.block()), held_flush_, block.payload()));
    }
  }
  return absl::OkStatus();
}

BlockKey Uplink::KeyOf(uint64_t step, uint32_t block) const {
  BlockKey key = job_->Key(step, block);
  const BlockPlan& plan = job_->plans[block];
  key.basis = absl::MakeConstSpan(held_bases_).subspan(plan.basis_offset, plan.basis_size);
  return key;
}

void Uplink::Drop() {
  held_ = std::make_shared<std::vector<v1::TrainRequest>>();
  sent_as_.clear();
  held_step_ = 0;
  abstained_ = false;
}

void Uplink::Reset(std::optional<uint64_t> reset_id) {
  Drop();
  memory_.Reset();
  reset_id_ = reset_id;
}

absl::string_view Uplink::abstain_reason() const {
  return held_->empty() ? absl::string_view()
                        : absl::string_view(held_->back().gradient().end().abstain_reason());
}

absl::StatusOr<Uplink::Contents> Uplink::contents() const {
  if (held_step_ != 0 || !reset_id_.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("what is remembered cannot be kept: ",
                     held_step_ != 0 ? absl::StrCat("the payload of step ", held_step_, " is open")
                                     : "no header has come yet"));
  }
  return Contents{.reset_id = *reset_id_, .memory = memory_.contents()};
}

absl::Status Uplink::Load(Contents contents) {
  GRADWIRE_RETURN_IF_ERROR(memory_.Load(std::move(contents.memory)));
  Drop();
  reset_id_ = contents.reset_id;
  return absl::OkStatus();
}

}  // namespace gradwire
