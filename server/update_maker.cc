// SPDX-License-Identifier: Apache-2.0
// Implementation of update_maker.h.
#include "server/update_maker.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/parallel.h"
#include "common/base/status_macros.h"
#include "common/kernels/vector.h"
#include "server/kept_block.h"
#include "server/part_writer.h"

namespace gradwire {
namespace {

float UnitOf(const BlockPlan& plan, float learning_rate) {
  return plan.units == Units::kUpdate ? learning_rate : 1.0f;
}

// An optimizer with state moves every coordinate.
bool SparseIsAllThatMoves(const Job& job) {
  return job.reset.radius > 0 &&
         std::all_of(job.plans.begin(), job.plans.end(), [&job](const BlockPlan& plan) {
           return job.optimizer->units() == Units::kUpdate && !plan.keeps_mean() &&
                  !plan.compress_down;
         });
}

// More than half of a block may be published densely: replay then no longer knows which half.
void NoteTouched(size_t offset, size_t size, const BlockValues& mean, Touched* touched) {
  if (mean.dense || 2 * mean.indices.size() > size) touched->all = true;
  if (touched->all) return;
  for (const uint32_t index : mean.indices) touched->coordinates.push_back(offset + index);
}

// So that spreading it over the cores is worth the while.
bool IsLarge(const Round& round) {
  constexpr size_t kLarge = size_t{1} << 18;  // values
  size_t values = round.waiting_bytes() / sizeof(float);
  for (size_t block = 0; block < round.blocks(); ++block) values += round.sum(block).sums.size();
  return values >= kLarge;
}

absl::Status CheckFinite(const Job& job, const BlockKey& key, const BlockValues& mean) {
  const size_t bad = FirstNonFinite(mean.values.data(), mean.values.size());
  if (bad == mean.values.size()) return absl::OkStatus();
  const size_t in_block = mean.dense ? bad : mean.indices[bad];
  return absl::OutOfRangeError(absl::StrCat(
      "step ", key.step, ", block ", key.block, ": the sum of finite payloads overflows at ",
      job.layout.CoordinateName(job.layout.block_offset(key.block) + in_block),
      "; the training has diverged: lower the learning rate"));
}

}  // namespace

MadeUpdate MakeEmptyUpdate(uint64_t version, const v1::Header& header) {
  return {.parts = PartWriter(version).Finish(header)};
}

UpdateMaker::UpdateMaker(std::shared_ptr<const Job> job)
    : job_(std::move(job)), noise_(job_), downlink_(job_) {
  for (size_t block = 0; block < job_->layout.blocks(); ++block) {
    const size_t size = job_->plans[block].codec->server_state_size(job_->Key(0, block));
    codec_state_.emplace_back(size, 0.0f);
  }
}

double UpdateMaker::Norm(const Round& round, float learning_rate) const {
  double squares = 0;
  BlockValues mean;
  CombineScratch scratch;
  const std::vector<double> norms = round.norms();
  for (size_t block = 0; block < round.blocks(); ++block) {
    if (job_->aggregator != nullptr) {
      CombineBlock(*job_->aggregator, round, norms, block, &scratch, &mean);
    } else {
      round.codec(block).Mean(round.key(block), round.sum(block), &mean);
    }
    const double unit = UnitOf(job_->plans[block], learning_rate);
    if (unit == 0) return std::numeric_limits<double>::infinity();
    squares += SumOfSquares(mean.values.data(), mean.values.size()) / (unit * unit);
  }
  return std::sqrt(squares);
}

absl::StatusOr<MadeUpdate> UpdateMaker::Make(const Round& round, uint64_t version,
                                             const v1::Header& header) {
  SetFloatEnvironment();
  const float rate = header.learning_rate();
  const bool clips = job_->clip.kind == Clip::Kind::kNorm;
  const Context context = {.round = &round,
                           .learning_rate = rate,
                           .factor = clips ? ClipFactor(job_->clip.limit, Norm(round, rate)) : 1.0f,
                           .note_touched = SparseIsAllThatMoves(*job_),
                           .norms = round.norms()};
  noise_.BeginStep(rate);
  PartWriter writer(version);
  v1::ServerPart kept;
  MadeUpdate update;
  update.touched.all = !context.note_touched || header.perturbation_scale() != 0;
  // A few blocks at a time, so that not all payloads are held twice.  The noise has one scratch.
  const size_t at_once = noise_.active() || !IsLarge(round) ? 1 : 4 * ParallelThreads();
  std::vector<MadeBlock> made(at_once);
  std::vector<CombineScratch> scratch(ParallelThreads());
  for (size_t first = 0; first < round.blocks(); first += at_once) {
    const size_t count = std::min(at_once, round.blocks() - first);
    ParallelFor(count, [&](size_t i, size_t thread) {
      MakeBlock(context, first + i, &scratch[thread], &made[i]);
    });
    for (size_t i = 0; i < count; ++i) {
      GRADWIRE_RETURN_IF_ERROR(made[i].status);
      writer.Add(static_cast<uint32_t>(first + i), round.codec(first + i).id(), made[i].payload);
      kept.MergeFrom(made[i].kept);
      update.touched.Add(made[i].touched);
    }
  }
  update.parts = writer.Finish(header);
  update.payload_bytes = writer.payload_bytes();
  update.server_part = kept.SerializeAsString();
  return update;
}

void UpdateMaker::MakeBlock(const Context& context, size_t block, CombineScratch* scratch,
                            MadeBlock* made) {
  const Round& round = *context.round;
  const BlockPlan& plan = job_->plans[block];
  const size_t offset = job_->layout.block_offset(block);
  BlockKey key = round.key(block);
  key.unit = UnitOf(plan, context.learning_rate);
  made->kept.Clear();
  made->touched = {.all = !context.note_touched, .coordinates = {}};
  if (KeepsSum(block)) KeepSum(key, round.sum(block), &made->kept);
  BlockValues* const mean = &made->mean;
  if (job_->aggregator != nullptr) {
    CombineBlock(*job_->aggregator, round, context.norms, block, scratch, mean);
  } else {
    round.codec(block).Aggregate(key, round.sum(block), absl::MakeSpan(codec_state_[block]), mean);
  }
  ClipValues(plan, context.learning_rate, context.factor, mean);
  noise_.AddTo(key, offset, mean);
  if (downlink_.HasResidual(block)) KeepMean(key, *mean, &made->kept);
  downlink_.AddResidual(block, mean);
  NoteTouched(offset, key.size, *mean, &made->touched);
  made->status = CheckFinite(*job_, key, *mean);
  if (made->status.ok()) downlink_.Encode(key, round.flush(), mean, &made->payload);
}

void UpdateMaker::ClipValues(const BlockPlan& plan, float learning_rate, float factor,
                             BlockValues* mean) const {
  if (factor < 1) {
    for (float& value : mean->values) value *= factor;
  }
  if (job_->clip.kind != Clip::Kind::kValue) return;
  const float limit = job_->clip.limit * UnitOf(plan, learning_rate);
  for (float& value : mean->values) value = std::clamp(value, -limit, limit);
}

absl::Status UpdateMaker::Replay(const std::vector<v1::UpdatePart>& parts,
                                 const v1::ServerPart& kept, const Replica& replica,
                                 Touched* touched) {
  SetFloatEnvironment();
  const v1::Header& header = parts.back().header();
  noise_.BeginStep(header.learning_rate());
  touched->all = !SparseIsAllThatMoves(*job_);
  int next = 0;
  for (const v1::UpdatePart& part : parts) {
    for (const v1::BlockPayload& block : part.blocks()) {
      const bool is_kept = next < kept.blocks_size() && kept.blocks(next).block() == block.block();
      GRADWIRE_RETURN_IF_ERROR(
          ReplayBlock(block, header, is_kept ? &kept.blocks(next) : nullptr, replica, touched));
      if (is_kept) ++next;
    }
  }
  if (header.perturbation_scale() != 0) touched->all = true;
  return absl::OkStatus();
}

absl::Status UpdateMaker::ReplayBlock(const v1::BlockPayload& block, const v1::Header& header,
                                      const v1::KeptBlock* kept, const Replica& replica,
                                      Touched* touched) {
  const uint32_t b = block.block();
  const uint64_t step = replica.version() + 1;
  const size_t offset = job_->layout.block_offset(b);
  BlockKey key = replica.KeyAt(step, b);
  key.unit = UnitOf(job_->plans[b], header.learning_rate());
  if ((KeepsSum(b) || downlink_.HasResidual(b)) != (kept != nullptr)) {
    return absl::DataLossError(absl::StrCat("block ", b, " of record ", step,
                                            kept == nullptr ? " lacks" : " has no use for",
                                            " a server's part"));
  }
  BlockValues mean;
  if (KeepsSum(b)) {
    Accumulator sum;
    GRADWIRE_RETURN_IF_ERROR(TakeSum(key, *kept, &sum));
    if (sum.sums.empty() || codec_state_[b].size() % sum.sums.size() != 0) {
      return absl::DataLossError(absl::StrCat("block ", b, " of record ", step, ": a sum of ",
                                              sum.sums.size(), " values"));
    }
    job_->CodecOf(b, header.flushed()).Aggregate(key, sum, absl::MakeSpan(codec_state_[b]), &mean);
  } else if (kept != nullptr) {
    GRADWIRE_RETURN_IF_ERROR(TakeMean(key, *kept, &mean));
  } else if (noise_.active() || !touched->all) {
    GRADWIRE_RETURN_IF_ERROR(replica.Decode(step, b, block.payload(), header.flushed(), &mean));
  }
  noise_.NoteDrawn(key, offset, mean);
  NoteTouched(offset, key.size, mean, touched);
  if (!downlink_.HasResidual(b)) return absl::OkStatus();
  std::string payload;
  downlink_.AddResidual(b, &mean);
  downlink_.Encode(key, header.flushed(), &mean, &payload);
  if (payload == block.payload()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "block ", b, " of record ", step, ": the aggregate on the log gives another update than was ",
      "published; server and log are of different builds, or the log is damaged"));
}

double UpdateMaker::DownlinkResidualNorm() const {
  const std::vector<float>& residual = downlink_.residual();
  return residual.empty() ? 0 : std::sqrt(SumOfSquares(residual.data(), residual.size()));
}

void UpdateMaker::Save(StateFile* file) const {
  file->doubles["noise.total"] = {noise_.total()};
  file->double_views["noise.drawn"] = noise_.drawn();
  file->float_views["downlink.residual"] = {downlink_.residual()};
  file->float_views["codec.state"].assign(codec_state_.begin(), codec_state_.end());
}

absl::Status UpdateMaker::Load(StateFile* file) {
  const std::vector<double>& total = file->doubles["noise.total"];
  const std::vector<float>& all = file->floats["codec.state"];
  size_t sum = 0;
  for (const std::vector<float>& state : codec_state_) sum += state.size();
  if (total.size() != 1 || all.size() != sum ||
      !noise_.Restore(total[0], std::move(file->doubles["noise.drawn"])) ||
      !downlink_.Restore(std::move(file->floats["downlink.residual"]))) {
    return absl::InvalidArgumentError("the server's state does not fit the job");
  }
  const float* next = all.data();
  for (std::vector<float>& state : codec_state_) {
    std::copy_n(next, state.size(), state.begin());
    next += state.size();
  }
  return absl::OkStatus();
}

void UpdateMaker::ForgetResiduals() {
  noise_.Forget();
  downlink_.Reset();
  for (std::vector<float>& state : codec_state_) std::fill(state.begin(), state.end(), 0.0f);
}

}  // namespace gradwire
