// SPDX-License-Identifier: Apache-2.0
// Implementation of async_rounds.h.
#include "server/async_rounds.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace gradwire {
namespace {

bool SameSender(const v1::Member& a, const v1::Member& b) {
  return a.id() == b.id() && a.incarnation() == b.incarnation();
}

}  // namespace

void AsyncRounds::Open(const v1::Header& header) {
  std::map<uint32_t, Lane> lanes;
  for (const v1::Member& member : header.members()) {
    Lane& lane = lanes[member.rank()];
    const auto before = lanes_.find(member.rank());
    if (before != lanes_.end() && SameSender(before->second.member, member)) {
      lane = std::move(before->second);
    }
    lane.member = member;
    if (lane.round == nullptr || lane.round->step() > member.answered_step()) continue;
    lane.round = nullptr;
    lane.completed = 0;
  }
  lanes_ = std::move(lanes);
}

absl::StatusOr<Round::Added> AsyncRounds::Add(uint32_t rank, uint64_t incarnation,
                                              const v1::Gradient& message) {
  const auto found = lanes_.find(rank);
  if (found == lanes_.end()) {
    return absl::NotFoundError(absl::StrCat("rank ", rank, " is no member"));
  }
  Lane& lane = found->second;
  const uint64_t open = lane.round == nullptr ? 0 : lane.round->step();
  const bool whole = lane.completed > 0;
  if (Answered(rank, message.step()) || message.step() < open ||
      (whole && message.step() != open)) {
    return Round::Added{.duplicates = static_cast<uint32_t>(message.blocks_size())};
  }
  if (message.step() != open) {
    lane.round = std::make_unique<Round>(job_);
    lane.round->Open(message.step(), {lane.member});
  }
  absl::StatusOr<Round::Added> added = lane.round->Add(rank, incarnation, message);
  if (!whole && lane.round->complete()) lane.completed = ++completed_;
  return added;
}

bool AsyncRounds::Answered(uint32_t rank, uint64_t step) const {
  const auto lane = lanes_.find(rank);
  return step == 0 || (lane != lanes_.end() && step <= lane->second.member.answered_step());
}

const Round* AsyncRounds::Complete() const {
  const Lane* first = nullptr;
  for (const auto& [rank, lane] : lanes_) {
    if (lane.completed == 0) continue;
    if (first == nullptr || lane.completed < first->completed) first = &lane;
  }
  return first == nullptr ? nullptr : first->round.get();
}

void AsyncRounds::Drop(uint32_t rank) {
  const auto lane = lanes_.find(rank);
  if (lane == lanes_.end()) return;
  lane->second.round = nullptr;
  lane->second.completed = 0;
}

const v1::Member* AsyncRounds::member(uint32_t rank) const {
  const auto lane = lanes_.find(rank);
  return lane == lanes_.end() ? nullptr : &lane->second.member;
}

uint64_t AsyncRounds::lowest_clock() const {
  uint64_t lowest = UINT64_MAX;
  for (const auto& [rank, lane] : lanes_) lowest = std::min(lowest, lane.member.clock());
  return lanes_.empty() ? 0 : lowest;
}

uint64_t AsyncRounds::oldest_base(uint64_t version) const {
  for (const auto& [rank, lane] : lanes_) version = std::min(version, lane.member.answered_step());
  return version;
}

std::string AsyncRounds::Missing() const {
  std::string missing;
  for (const auto& [rank, lane] : lanes_) {
    if (lane.completed > 0) continue;
    absl::StrAppend(&missing, missing.empty() ? "" : ", ", lane.member.id());
  }
  return missing;
}

float AsyncWeight(uint64_t before, size_t members) {
  return 1.0f / static_cast<float>(std::max<uint64_t>(members, before + 1));
}

uint64_t MaxStaleness(uint64_t max_lead, size_t members) {
  return members == 0 ? 0 : (2 * max_lead + 1) * (members - 1);
}

}  // namespace gradwire
