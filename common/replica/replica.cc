// SPDX-License-Identifier: Apache-2.0
// Implementation of replica.h.
#include "common/replica/replica.h"

#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

absl::Status Damaged(uint64_t version, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("record ", version, ": ", what));
}

BlockKey KeyOf(const Job& job, uint64_t step, size_t block) {
  return {.seed = job.config.seed(),
          .step = step,
          .block = static_cast<uint32_t>(block),
          .size = job.layout.block_size(block)};
}

absl::Status CheckHeader(const Record& record, const v1::Header& header) {
  for (const float rate : {header.learning_rate(), header.next_learning_rate()}) {
    if (!std::isfinite(rate)) {
      return Damaged(record.version, absl::StrCat("learning rate ", rate, " is not finite"));
    }
  }
  if (record.version == 0 && header.used_size() != 0) {
    return Damaged(0, "the first record has no update, but names contributors");
  }
  return absl::OkStatus();
}

// Appends the hash of each of the layout's blocks of `values`.
void AppendBlockHashes(const Layout& layout, absl::Span<const float> values,
                       std::vector<uint64_t>* hashes) {
  for (size_t block = 0; block < layout.blocks(); ++block) {
    hashes->push_back(Hash64(values.subspan(layout.block_offset(block), layout.block_size(block))));
  }
}

}  // namespace

Replica::Replica(std::shared_ptr<const Job> job) : job_(std::move(job)) {
  const size_t dimension = job_->layout.dimension();
  parameters_.resize(dimension);
  job_->layout.Initialize(job_->config.seed(), absl::MakeSpan(parameters_));
  state_.assign(job_->optimizer->state_names().size(), std::vector<float>(dimension));
}

absl::Status Replica::Apply(const Record& record) {
  SetFloatEnvironment();
  std::vector<v1::UpdatePart> parts;
  GRADWIRE_RETURN_IF_ERROR(CheckParts(record, &parts));
  GRADWIRE_RETURN_IF_ERROR(CheckBlocks(parts));
  ApplyBlocks(parts);
  header_ = std::move(*parts.back().mutable_header());
  if (header_.used_size() != 0) ++applied_;
  version_ = record.version;
  chain_hash_ = record.chain_hash;
  started_ = true;
  return absl::OkStatus();
}

// Does the record follow this replica's point, and are its parts whole?
absl::Status Replica::CheckParts(const Record& record, std::vector<v1::UpdatePart>* parts) const {
  const uint64_t next = started_ ? version_ + 1 : 0;
  if (record.version != next) {
    return absl::FailedPreconditionError(
        absl::StrCat("record ", record.version, " does not follow: the replica's next is ", next));
  }
  if (record.parts.empty()) return Damaged(next, "it has no parts");
  if (ChainHashOf(record.parts) != record.chain_hash) {
    return Damaged(
        next, absl::StrCat("its bytes do not have its chain hash ", HashText(record.chain_hash)));
  }
  parts->resize(record.parts.size());
  for (size_t i = 0; i < parts->size(); ++i) {
    v1::UpdatePart& part = (*parts)[i];
    const std::string name = absl::StrCat("part ", i, " of ", parts->size());
    if (!part.ParseFromString(record.parts[i])) {
      return Damaged(next, absl::StrCat(name, " is not an UpdatePart"));
    }
    if (part.version() != next) {
      return Damaged(next, absl::StrCat(name, " is of version ", part.version()));
    }
    if (part.has_header() != (i + 1 == parts->size())) {
      return Damaged(next, absl::StrCat(name, part.has_header() ? " has" : " has not",
                                        " the header; only the last one has it"));
    }
  }
  const v1::Header& header = parts->back().header();
  const absl::string_view want = started_ ? AsView(chain_hash_) : absl::string_view();
  if (absl::string_view(header.previous_chain_hash()) != want) {
    return absl::FailedPreconditionError(
        absl::StrCat("record ", next, " is of another history: it does not follow chain hash ",
                     HashText(chain_hash_), "; take a snapshot of the server's"));
  }
  return CheckHeader(record, header);
}

// Every block once, in order, with the job's codec and a payload that decodes.
absl::Status Replica::CheckBlocks(const std::vector<v1::UpdatePart>& parts) const {
  const uint64_t step = parts.back().version();
  const size_t blocks = parts.back().header().used_size() == 0 ? 0 : job_->layout.blocks();
  size_t next = 0;
  BlockValues scratch;
  for (const v1::UpdatePart& part : parts) {
    if (part.blocks_size() != 0 && part.codec() != job_->codec->id()) {
      return Damaged(step,
                     absl::StrCat("codec ", static_cast<int>(part.codec()), " is not the job's, ",
                                  static_cast<int>(job_->codec->id())));
    }
    for (const v1::BlockPayload& block : part.blocks()) {
      if (next == blocks || block.block() != next) {
        return Damaged(
            step, absl::StrCat("block ", block.block(), " stands in place ", next, " of ", blocks));
      }
      const absl::Status status =
          job_->codec->DecodeUpdate(KeyOf(*job_, step, next), block.payload(), &scratch);
      if (!status.ok()) {
        return Damaged(step, absl::StrCat("block ", next, ": ", status.message()));
      }
      ++next;
    }
  }
  if (next == blocks) return absl::OkStatus();
  return Damaged(step, absl::StrCat("it has ", next, " blocks of ", blocks));
}

void Replica::ApplyBlocks(const std::vector<v1::UpdatePart>& parts) {
  const v1::UpdatePart& last = parts.back();
  const StepContext context = {.learning_rate = last.header().learning_rate(), .applied = applied_};
  BlockValues update;
  std::vector<absl::Span<float>> state(state_.size());
  for (const v1::UpdatePart& part : parts) {
    for (const v1::BlockPayload& block : part.blocks()) {
      const BlockKey key = KeyOf(*job_, last.version(), block.block());
      // CheckBlocks has decoded the same bytes: a codec is a function of them.
      if (!job_->codec->DecodeUpdate(key, block.payload(), &update).ok()) std::abort();
      const size_t offset = job_->layout.block_offset(block.block());
      for (size_t i = 0; i < state.size(); ++i) {
        state[i] = absl::MakeSpan(state_[i]).subspan(offset, key.size);
      }
      job_->optimizer->Apply(context, update, absl::MakeSpan(parameters_).subspan(offset, key.size),
                             state);
    }
  }
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
  return Hash64(absl::MakeConstSpan(hashes));
}

absl::Status Replica::Load(Contents contents) {
  const size_t dimension = job_->layout.dimension();
  bool fits = contents.parameters.size() == dimension && contents.state.size() == state_.size();
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
  header_.Clear();
  parameters_ = std::move(contents.parameters);
  state_ = std::move(contents.state);
  return absl::OkStatus();
}

}  // namespace gradwire
