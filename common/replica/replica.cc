// SPDX-License-Identifier: Apache-2.0
// Implementation of replica.h.
#include "common/replica/replica.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/base/casts.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/parallel.h"
#include "common/base/status_macros.h"
#include "common/codec/block_values.h"

namespace gradwire {
namespace {

constexpr size_t kWorthSpreading = size_t{1} << 20;  // bytes of an update

void ForBlocks(bool spread, size_t count, absl::FunctionRef<void(size_t, size_t)> work) {
  if (spread) return ParallelFor(count, work);
  for (size_t i = 0; i < count; ++i) work(i, 0);
}

absl::Status Damaged(uint64_t version, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("record ", version, ": ", what));
}

// ASYNC: a used payload is the one that is answered, of a step up to this.
absl::Status CheckAnswer(const Job& job, const Record& record, const v1::Header& header) {
  if (job.config.consistency() != v1::ASYNC) {
    if (!header.has_answer()) return absl::OkStatus();
    return Damaged(record.version, "it answers one payload, but the job is not ASYNC");
  }
  const int used = header.used_size();
  const v1::AsyncAnswer& answer = header.answer();
  if (used > (header.has_answer() ? 1 : 0) ||
      (used == 1 && (header.used(0).rank() != answer.rank() ||
                     header.used(0).incarnation() != answer.incarnation()))) {
    return Damaged(record.version, "it uses another payload than the one that it answers");
  }
  if (!header.has_answer()) return absl::OkStatus();
  if (answer.step() == 0 || answer.step() > record.version) {
    return Damaged(record.version, absl::StrCat("it answers a payload of step ", answer.step(),
                                                ", which is not in ", "[1, ", record.version, "]"));
  }
  if (answer.weight() > 0 && answer.weight() <= 1) return absl::OkStatus();
  return Damaged(record.version, absl::StrCat("weight ", answer.weight(), " is not in (0, 1]"));
}

absl::Status CheckHeader(const Job& job, const Record& record, const v1::Header& header) {
  for (const float rate : {header.learning_rate(), header.next_learning_rate()}) {
    if (!std::isfinite(rate)) {
      return Damaged(record.version, absl::StrCat("learning rate ", rate, " is not finite"));
    }
  }
  const float scale = header.perturbation_scale();
  if (!std::isfinite(scale)) {
    return Damaged(record.version, absl::StrCat("perturbation scale ", scale, " is not finite"));
  }
  const bool on_demand = job.perturbation.kind == Perturbation::Kind::kOnDemand;
  if (scale != 0 && (!on_demand || header.used_size() == 0)) {
    return Damaged(record.version,
                   absl::StrCat("perturbation scale ", scale, ": only an update with payloads, of ",
                                "a job with perturbation on_demand, has one"));
  }
  if (record.version == 0 && header.used_size() != 0) {
    return Damaged(0, "the first record has no update, but names contributors");
  }
  return CheckAnswer(job, record, header);
}

// Appends the hash of each of the layout's blocks of `values`.
void AppendBlockHashes(const Layout& layout, absl::Span<const float> values,
                       std::vector<uint64_t>* hashes) {
  for (size_t block = 0; block < layout.blocks(); ++block) {
    hashes->push_back(Hash64(values.subspan(layout.block_offset(block), layout.block_size(block))));
  }
}

// Whose keys the blocks of a record's update are decoded with.
uint64_t StepOf(uint64_t version, const v1::Header& header) {
  return header.has_answer() ? header.answer().step() : version;
}

void Scale(float weight, BlockValues* update) {
  for (float& value : update->values) value *= weight;
}

// EF21: an update is a difference, and what is applied is the mean of gradients after it.
void AddToMean(absl::Span<float> mean, BlockValues* update) {
  AddBlockTo(*update, 1.0f, mean);
  update->dense = true;
  update->indices.clear();
  update->values.assign(mean.begin(), mean.end());
}

}  // namespace

Replica::Replica(std::shared_ptr<const Job> job, absl::Span<float> home)
    : job_(std::move(job)), parameters_(home) {
  const size_t dimension = job_->layout.dimension();
  if (home.empty()) {
    own_.resize(dimension);
    parameters_ = absl::MakeSpan(own_);
  }
  job_->layout.Initialize(job_->config.seed(), parameters_);
  for (const StateVector& vector : job_->state_vectors()) {
    state_.emplace_back(dimension, vector.initial);
  }
  for (const StateScalar& scalar : job_->optimizer->state_scalars()) {
    scalars_.push_back(scalar.initial);
  }
  bases_.assign(job_->basis_size(), 0.0f);
}

BlockKey Replica::KeyAt(uint64_t step, size_t block) const {
  BlockKey key = job_->Key(step, block);
  const BlockPlan& plan = job_->plans[block];
  key.basis = absl::MakeConstSpan(bases_).subspan(plan.basis_offset, plan.basis_size);
  return key;
}

absl::Span<float> Replica::BlockOf(absl::Span<float> values, size_t block) const {
  const Block& range = job_->layout.block(block);
  return values.subspan(range.offset, range.size);
}

absl::Status Replica::Apply(const Record& record, const BlockDone& block_done) {
  SetFloatEnvironment();
  Update update;
  GRADWIRE_RETURN_IF_ERROR(CheckParts(record, &update));
  GRADWIRE_RETURN_IF_ERROR(CheckBlocks(record.version, update));
  GRADWIRE_RETURN_IF_ERROR(CheckPayloads(record.version, update));
  const v1::Header& header = update.header;
  // Of these, a block is not done when its update is applied.
  const bool forgets = header.reset_id() != reset_id_;
  const bool later = header.perturbation_scale() != 0 || forgets || header.used_size() == 0;
  ApplyBlocks(record.version, update, later ? nullptr : block_done);
  if (forgets) ForgetMean();
  for (size_t b = 0; later && block_done && b < job_->layout.blocks(); ++b) block_done(b);
  header_ = std::move(update.header);
  reset_id_ = header_.reset_id();
  if (header_.used_size() != 0) ++applied_;
  version_ = record.version;
  chain_hash_ = record.chain_hash;
  started_ = true;
  return absl::OkStatus();
}

// Does the record follow this replica's point, and are its parts whole?
absl::Status Replica::CheckParts(const Record& record, Update* update) const {
  const uint64_t next = started_ ? version_ + 1 : 0;
  if (record.version != next) {
    return absl::FailedPreconditionError(
        absl::StrCat("record ", record.version, " does not follow: the replica's next is ", next));
  }
  if (record.parts.empty()) return Damaged(next, "it has no parts");
  UpdatePartView part;
  for (size_t i = 0; i < record.parts.size(); ++i) {
    const std::string name = absl::StrCat("part ", i, " of ", record.parts.size());
    if (!ReadUpdatePart(record.parts[i], &part)) {
      return Damaged(next, absl::StrCat(name, " is not an UpdatePart"));
    }
    if (part.version != next) {
      return Damaged(next, absl::StrCat(name, " is of version ", part.version));
    }
    if (part.has_header != (i + 1 == record.parts.size())) {
      return Damaged(next, absl::StrCat(name, part.has_header ? " has" : " has not",
                                        " the header; only the last one has it"));
    }
    update->blocks.insert(update->blocks.end(), part.blocks.begin(), part.blocks.end());
  }
  update->large = record.bytes >= kWorthSpreading;
  if (!update->header.ParseFromArray(part.header.data(), static_cast<int>(part.header.size()))) {
    return Damaged(next, "its header is not a Header");
  }
  const absl::string_view want = started_ ? AsView(chain_hash_) : absl::string_view();
  if (absl::string_view(update->header.previous_chain_hash()) != want) {
    return absl::FailedPreconditionError(
        absl::StrCat("record ", next, " is of another history: it does not follow chain hash ",
                     HashText(chain_hash_), "; take a snapshot of the server's"));
  }
  return CheckHeader(*job_, record, update->header);
}

// Every block once, in order, with its codec.
absl::Status Replica::CheckBlocks(uint64_t version, const Update& update) const {
  const size_t wanted = update.header.used_size() == 0 ? 0 : job_->layout.blocks();
  for (size_t next = 0; next < update.blocks.size(); ++next) {
    const BlockView& block = update.blocks[next];
    if (next == wanted || block.block != next) {
      return Damaged(
          version, absl::StrCat("block ", block.block, " stands in place ", next, " of ", wanted));
    }
    const v1::CodecId codec = job_->CodecOf(next, update.header.flushed()).id();
    if (block.codec == codec) continue;
    return Damaged(version, absl::StrCat("block ", next, ": codec ", static_cast<int>(block.codec),
                                         " is not the job's, ", static_cast<int>(codec)));
  }
  if (update.blocks.size() == wanted) return absl::OkStatus();
  return Damaged(version, absl::StrCat("it has ", update.blocks.size(), " blocks of ", wanted));
}

// That all payloads decode; of those that do not, the first is told.
absl::Status Replica::CheckPayloads(uint64_t version, const Update& update) const {
  const v1::Header& header = update.header;
  const uint64_t step = StepOf(version, header);
  std::vector<BlockValues> scratch(ParallelThreads());
  std::vector<absl::Status> statuses(update.blocks.size());
  ForBlocks(update.large, update.blocks.size(), [&](size_t i, size_t thread) {
    statuses[i] = CheckBlock(step, update.blocks[i], header.flushed(), &scratch[thread]);
  });
  for (size_t i = 0; i < statuses.size(); ++i) {
    if (statuses[i].ok()) continue;
    return Damaged(version, absl::StrCat("block ", i, ": ", statuses[i].message()));
  }
  return absl::OkStatus();
}

absl::Status Replica::CheckBlock(uint64_t step, const BlockView& block, bool flushed,
                                 BlockValues* scratch) const {
  if (job_->plans[block.block].compress_down) {
    return Decode(step, block.block, block.payload, flushed, scratch);
  }
  const Codec& codec = job_->CodecOf(block.block, flushed);
  return codec.CheckUpdate(KeyAt(step, block.block), block.payload, scratch);
}

absl::Status Replica::Decode(uint64_t step, size_t block, absl::string_view payload, bool flushed,
                             BlockValues* update) const {
  const Codec& codec = job_->CodecOf(block, flushed);
  const BlockKey key = KeyAt(step, block);
  return job_->plans[block].compress_down ? DecodePayload(codec, key, payload, update)
                                          : codec.DecodeUpdate(key, payload, update);
}

void Replica::ApplyBlocks(uint64_t version, const Update& update, const BlockDone& block_done) {
  const v1::Header& header = update.header;
  if (header.used_size() != 0) job_->optimizer->BeginStep(absl::MakeSpan(scalars_));
  const StepContext context = {
      .learning_rate = header.learning_rate(), .applied = applied_, .scalars = scalars_};
  std::vector<BlockValues> values(ParallelThreads());
  const bool spread = update.large && !block_done;
  ForBlocks(spread, update.blocks.size(), [&](size_t i, size_t thread) {
    StepContext here = context;
    here.key = KeyAt(version, i);
    ApplyBlock(here, update.blocks[i], header, &values[thread]);
    if (block_done) block_done(i);
  });
  if (header.perturbation_scale() != 0) Perturb(version, header.perturbation_scale());
}

void Replica::ApplyBlock(const StepContext& context, const BlockView& block,
                         const v1::Header& header, BlockValues* values) {
  const size_t b = block.block;
  const BlockPlan& plan = job_->plans[b];
  // CheckPayloads has taken the same bytes: a codec is a function of them.
  const uint64_t step = StepOf(context.key.step, header);
  if (plan.compress_down) {
    if (!Decode(step, b, block.payload, header.flushed(), values).ok()) std::abort();
  } else {
    job_->CodecOf(b, header.flushed()).LoadUpdate(KeyAt(step, b), block.payload, values);
  }
  if (header.has_answer()) Scale(header.answer().weight(), values);
  if (plan.keeps_mean()) AddToMean(BlockOf(absl::MakeSpan(state_.back()), b), values);
  const size_t vectors = state_.size() - (job_->keeps_mean ? 1 : 0);
  std::vector<absl::Span<float>> state(vectors);
  for (size_t i = 0; i < vectors; ++i) state[i] = BlockOf(absl::MakeSpan(state_[i]), b);
  StepContext here = context;
  here.units = plan.units;
  job_->optimizer->Apply(here, *values, BlockOf(parameters_, b), state);
  if (plan.basis_size == 0 || header.flushed()) return;
  std::vector<float> next(plan.basis_size);
  plan.codec->NextBasis(context.key, block.payload, absl::MakeSpan(next));
  std::copy(next.begin(), next.end(), bases_.begin() + static_cast<ptrdiff_t>(plan.basis_offset));
}

// The perturbation on_demand; the server has chosen the scale.
void Replica::Perturb(uint64_t step, float scale) {
  for (size_t b = 0; b < job_->layout.blocks(); ++b) {
    AddNormals(job_->Key(step, b), Purpose::kOnDemand, scale, BlockOf(parameters_, b));
  }
}

// EF21's workers begin anew at zero, and so does their mean.
void Replica::ForgetMean() {
  if (job_->keeps_mean) std::fill(state_.back().begin(), state_.back().end(), 0.0f);
}

uint64_t Replica::ParametersHash() const {
  std::vector<uint64_t> hashes;
  AppendBlockHashes(job_->layout, parameters_, &hashes);
  return Hash64(absl::MakeConstSpan(hashes));
}

uint64_t Replica::Hash() const {
  std::vector<uint64_t> hashes;
  AppendBlockHashes(job_->layout, parameters_, &hashes);
  for (const std::vector<float>& values : state_) {
    AppendBlockHashes(job_->layout, values, &hashes);
  }
  for (const double scalar : scalars_) hashes.push_back(absl::bit_cast<uint64_t>(scalar));
  if (!bases_.empty()) hashes.push_back(Hash64(absl::MakeConstSpan(bases_)));
  return Hash64(absl::MakeConstSpan(hashes));
}

absl::Status Replica::Load(Contents contents) {
  const size_t dimension = job_->layout.dimension();
  bool fits = contents.parameters.size() == dimension && contents.state.size() == state_.size() &&
              contents.scalars.size() == scalars_.size() && contents.bases.size() == bases_.size();
  for (const std::vector<float>& values : contents.state) fits = fits && values.size() == dimension;
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a snapshot of ", contents.parameters.size(), " parameters and ", contents.state.size(),
        " state vectors does not fit the job: ", dimension, " and ", state_.size()));
  }
  started_ = true;
  version_ = contents.version;
  chain_hash_ = contents.chain_hash;
  applied_ = contents.applied;
  reset_id_ = contents.reset_id;
  header_ = std::move(contents.header);
  if (own_.empty()) {
    std::copy(contents.parameters.begin(), contents.parameters.end(), parameters_.begin());
  } else {
    own_ = std::move(contents.parameters);
    parameters_ = absl::MakeSpan(own_);
  }
  state_ = std::move(contents.state);
  scalars_ = std::move(contents.scalars);
  bases_ = std::move(contents.bases);
  return absl::OkStatus();
}

}  // namespace gradwire
