// SPDX-License-Identifier: Apache-2.0
// Implementation of round.h.
#include "server/round.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/replica/block_codec.h"

namespace gradwire {
namespace {

constexpr size_t kMaxEvaluationBytes = 16384;  // it travels in the header, to everybody

absl::Status Refused(const v1::Member& member, uint64_t step, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("worker \"", member.id(), "\" (rank ",
                                                 member.rank(), "), step ", step, ": ", what));
}

}  // namespace

Round::Round(std::shared_ptr<const Job> job)
    : job_(std::move(job)), sums_(job_->layout.blocks()), next_(job_->layout.blocks(), 0) {}

void Round::Open(uint64_t step, absl::Span<const v1::Member> members, const RoundOptions& options) {
  options_ = options;
  step_ = step;
  closed_ = false;
  slots_.assign(members.size(), Slot());
  for (size_t i = 0; i < members.size(); ++i) {
    slots_[i].member = members[i];
    slots_[i].speaker = members[i].incarnation();
    slots_[i].got.assign(blocks(), false);
    if (job_->looks_at_norms()) slots_[i].squares.assign(blocks(), 0.0);
  }
  ClearSums();
  too_large_.clear();
  waiting_bytes_ = 0;
  any_refused_ = false;
  first_awaited_ = 0;
}

BlockKey Round::key(size_t block) const {
  BlockKey key = job_->Key(step_, block);
  const BlockPlan& plan = job_->plans[block];
  key.basis = options_.bases.subspan(plan.basis_offset, plan.basis_size);
  return key;
}

Round::Slot* Round::Find(uint32_t rank) {
  const auto found = std::lower_bound(
      slots_.begin(), slots_.end(), rank,
      [](const Slot& slot, uint32_t wanted) { return slot.member.rank() < wanted; });
  return found != slots_.end() && found->member.rank() == rank ? &*found : nullptr;
}

const Round::Slot* Round::Find(uint32_t rank) const { return const_cast<Round*>(this)->Find(rank); }

absl::Status Round::CheckMessage(const Slot& slot, const v1::Gradient& message) const {
  for (const v1::BlockPayload& block : message.blocks()) {
    if (block.block() >= blocks()) {
      return Refused(slot.member, step_,
                     absl::StrCat("block ", block.block(), " is not in [0, ", blocks(), ")"));
    }
    const v1::CodecId id = BlockCodec(message, block);
    if (id != codec(block.block()).id()) {
      return Refused(slot.member, step_,
                     absl::StrCat("block ", block.block(), ": codec ", id, ", but the job's is ",
                                  codec(block.block()).id()));
    }
    const size_t limit =
        codec(block.block()).MaxPayloadBytes(job_->layout.block_size(block.block()));
    if (block.payload().size() > limit) {
      return Refused(slot.member, step_,
                     absl::StrCat("block ", block.block(), ": ", block.payload().size(),
                                  " bytes of payload, at most ", limit, " are possible"));
    }
  }
  const size_t evaluation = message.end().evaluation().ByteSizeLong();
  if (evaluation > kMaxEvaluationBytes) {
    return Refused(slot.member, step_,
                   absl::StrCat("an evaluation of ", evaluation, " bytes, at most ",
                                kMaxEvaluationBytes, " are allowed"));
  }
  if (message.end().abstained() && (message.blocks_size() > 0 || slot.blocks > 0)) {
    return Refused(slot.member, step_, "it abstains, but has sent blocks");
  }
  return absl::OkStatus();
}

absl::StatusOr<Round::Added> Round::Add(uint32_t rank, uint64_t incarnation,
                                        const v1::Gradient& message) {
  SetFloatEnvironment();
  Slot* slot = Find(rank);
  if (slot == nullptr) {
    return absl::NotFoundError(absl::StrCat("rank ", rank, " is no member of step ", step_));
  }
  if (slot->speaker != incarnation) {
    return absl::AbortedError(absl::StrCat("step ", step_, " waits for incarnation ", slot->speaker,
                                           " of rank ", rank, ", not ", incarnation));
  }
  Added added;
  if (slot->settled()) {
    added.duplicates = static_cast<uint32_t>(message.blocks_size());
    return added;
  }
  GRADWIRE_RETURN_IF_ERROR(CheckMessage(*slot, message));
  const size_t index = static_cast<size_t>(slot - slots_.data());
  for (const v1::BlockPayload& block : message.blocks()) {
    if (slot->got[block.block()]) {
      ++added.duplicates;
      continue;
    }
    GRADWIRE_RETURN_IF_ERROR(AddBlock(index, block));
    ++added.blocks;
  }
  if (message.has_end() && !slot->ended) {
    slot->ended = true;
    slot->end = message.end();
    if (slot->end.abstained()) Skip(slot);
  }
  return added;
}

absl::Status Round::AddBlock(size_t slot_index, const v1::BlockPayload& block) {
  Slot& slot = slots_[slot_index];
  const uint32_t b = block.block();
  const bool its_turn = adds() && next_[b] == slot_index;
  if (!its_turn) scratch_.Clear();
  const absl::Status status =
      codec(b).Accumulate(key(b), block.payload(), its_turn ? &sums_[b] : &scratch_);
  if (!status.ok()) {
    return Refused(slot.member, step_, absl::StrCat("block ", b, ": ", status.message()));
  }
  if (!slot.squares.empty()) Measure(b, &slot);
  slot.got[b] = true;
  ++slot.blocks;
  if (its_turn) {
    ++slot.summed;
    ++next_[b];
    Advance(b);
  } else {
    waiting_bytes_ += block.payload().size();
    slot.waiting.emplace(b, block.payload());
  }
  return absl::OkStatus();
}

void Round::Advance(size_t block) {
  if (!adds()) return;
  for (; next_[block] < slots_.size(); ++next_[block]) {
    Slot& slot = slots_[next_[block]];
    if (slot.skipped) continue;
    const auto found = slot.waiting.find(static_cast<uint32_t>(block));
    if (found == slot.waiting.end()) return;
    // Its bytes were checked when it came; what can still fail is the sum.
    if (!codec(block).Accumulate(key(block), found->second, &sums_[block]).ok()) {
      slot.refused = true;
      any_refused_ = true;
      first_awaited_ = 0;
      return;
    }
    ++slot.summed;
    if (options_.keep_payloads) continue;  // should a later one be refused, it is added again
    waiting_bytes_ -= found->second.size();
    slot.waiting.erase(found);
  }
}

void Round::AdvanceAll() {
  for (size_t block = 0; block < blocks(); ++block) Advance(block);
}

void Round::DropWaiting(Slot* slot) {
  for (const auto& [block, payload] : slot->waiting) waiting_bytes_ -= payload.size();
  slot->waiting.clear();
}

void Round::Skip(Slot* slot) {
  slot->skipped = true;
  DropWaiting(slot);
  AdvanceAll();
}

void Round::Forget(Slot* slot) {
  DropWaiting(slot);
  slot->member.set_incarnation(slot->speaker);
  slot->got.assign(blocks(), false);
  slot->blocks = 0;
  slot->summed = 0;
  slot->ended = false;
  slot->refused = false;
  slot->end.Clear();
  first_awaited_ = 0;
}

void Round::ClearSums() {
  for (Accumulator& sum : sums_) sum.Clear();
  std::fill(next_.begin(), next_.end(), size_t{0});
}

void Round::ThrowSumsAway() {
  ClearSums();
  for (Slot& slot : slots_) {
    if (slot.departed) slot.skipped = true;  // nobody is there to send it again
    if (slot.skipped) {
      DropWaiting(&slot);
    } else {
      Forget(&slot);
    }
  }
  AdvanceAll();
}

void Round::AddKeptAgain() {
  ClearSums();
  for (Slot& slot : slots_) {
    slot.summed = 0;
    slot.refused = false;
  }
  AdvanceAll();
}

bool Round::Drop(uint32_t rank) {
  SetFloatEnvironment();
  Slot* slot = Find(rank);
  if (slot == nullptr || slot->skipped) return false;
  if (slot->whole()) {
    slot->departed = true;
    return false;
  }
  const bool summed = slot->summed > 0;
  Skip(slot);
  if (!summed) return false;
  if (options_.keep_payloads) {
    AddKeptAgain();
    return false;
  }
  ThrowSumsAway();
  return true;
}

bool Round::Replace(uint32_t rank, uint64_t incarnation) {
  Slot* slot = Find(rank);
  if (slot == nullptr || incarnation <= slot->speaker) return false;
  slot->speaker = incarnation;
  slot->departed = false;
  return Restart(rank);
}

bool Round::Restart(uint32_t rank) {
  Slot* slot = Find(rank);
  if (slot == nullptr || slot->skipped || slot->all_came()) return false;
  const bool summed = slot->summed > 0;
  Forget(slot);
  if (summed) ThrowSumsAway();
  return summed;
}

void Round::CloseWithWhole() {
  if (!keeps()) return;
  SetFloatEnvironment();
  for (Slot& slot : slots_) {
    if (slot.awaited()) Skip(&slot);
  }
  LeaveOutTooLarge();
  closed_ = true;
  AdvanceAll();
}

const v1::Member* Round::RefusedMember() const {
  if (!any_refused_) return nullptr;
  for (const Slot& slot : slots_) {
    if (slot.refused && !slot.skipped) return &slot.member;
  }
  return nullptr;
}

// Asked with every message: the slots that wait for nothing are passed over once.
bool Round::complete() const {
  while (first_awaited_ < slots_.size() && !slots_[first_awaited_].awaited()) ++first_awaited_;
  return !keeps() && first_awaited_ == slots_.size();
}

size_t Round::arrived() const {
  return static_cast<size_t>(
      std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.arrived(); }));
}

size_t Round::awaited() const {
  return static_cast<size_t>(
      std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.awaited(); }));
}

std::vector<v1::Contributor> Round::used() const {
  std::vector<v1::Contributor> used;
  for (const Slot& slot : slots_) {
    if (slot.skipped) continue;
    v1::Contributor& contributor = used.emplace_back();
    contributor.set_rank(slot.member.rank());
    contributor.set_incarnation(slot.member.incarnation());
  }
  return used;
}

std::vector<v1::Member> Round::abstained() const {
  std::vector<v1::Member> abstained;
  for (const Slot& slot : slots_) {
    if (slot.end.abstained()) abstained.push_back(slot.member);
  }
  return abstained;
}

bool Round::any_fresh_memory() const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [](const Slot& slot) { return !slot.skipped && slot.end.fresh_memory(); });
}

double Round::loss() const {
  double sum = 0;
  double samples = 0;
  for (const Slot& slot : slots_) {
    if (slot.skipped) continue;
    sum += slot.end.loss() * static_cast<double>(slot.end.samples());
    samples += static_cast<double>(slot.end.samples());
  }
  return samples > 0 ? sum / samples : 0;
}

const v1::Evaluation* Round::evaluation() const {
  for (const Slot& slot : slots_) {
    if (slot.ended && slot.end.has_evaluation()) return &slot.end.evaluation();
  }
  return nullptr;
}

const v1::GradientEnd* Round::end_of(uint32_t rank) const {
  const Slot* slot = Find(rank);
  return slot != nullptr && slot->ended ? &slot->end : nullptr;
}

std::string Round::Missing() const {
  std::string missing;
  for (const Slot& slot : slots_) {
    if (!slot.awaited()) continue;
    absl::StrAppend(&missing, missing.empty() ? "" : ", ", slot.member.id());
  }
  return missing;
}

bool Round::HasWaiting(uint32_t rank) const {
  const Slot* slot = Find(rank);
  return slot != nullptr && !slot->waiting.empty();
}

}  // namespace gradwire
