// SPDX-License-Identifier: Apache-2.0
// How the coordinator runs an ASYNC job: every payload is an update of its own, and nobody gets
// further ahead than max_lead.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/coordinator.h"

namespace gradwire {
namespace {

const v1::Member* FindMember(const v1::Header& header, absl::string_view id) {
  for (const v1::Member& member : header.members()) {
    if (member.id() == id) return &member;
  }
  return nullptr;
}

void CountAt(uint64_t value, std::vector<uint64_t>* histogram) {
  constexpr uint64_t kMaxBuckets = 100000;  // the last one counts all above
  const uint64_t bucket = std::min(value, kMaxBuckets - 1);
  if (histogram->size() <= bucket) histogram->resize(bucket + 1);
  ++(*histogram)[bucket];
}

}  // namespace

// One update after another, while there is a payload to answer or somebody to leave out.
void Coordinator::AdvanceAsync(Effects* effects) {
  while (Running() && pending_ == nullptr) {
    const Round* whole = async_.Complete();
    if (whole == nullptr && !MembersAreGone()) return;
    const uint64_t version = history_->replica().version();
    CloseRound(whole != nullptr ? *whole : round_, effects);
    if (history_->replica().version() == version) return;  // it waits for workers, or for the disk
  }
}

// The others may be waiting for a member that the newest header names but that will not come.
bool Coordinator::MembersAreGone() const {
  const std::vector<v1::Member> next = membership_.NextMembers();
  const auto& named = history_->replica().header().members();
  return std::any_of(named.begin(), named.end(), [&next](const v1::Member& member) {
    return std::none_of(next.begin(), next.end(), [&member](const v1::Member& one) {
      return one.id() == member.id() && one.incarnation() == member.incarnation();
    });
  });
}

// The answer, and every next member's clock.
void Coordinator::FillAsyncHeader(const Round& round, v1::Header* header) {
  const uint64_t version = history_->replica().version() + 1;
  const v1::Header& before = history_->replica().header();
  const auto answer_to = [&](uint32_t rank, uint64_t incarnation) {
    v1::AsyncAnswer* answer = header->mutable_answer();
    answer->set_rank(rank);
    answer->set_incarnation(incarnation);
    answer->set_step(round.step());
    answer->set_weight(AsyncWeight(version - round.step(), before.members_size()));
  };
  for (const v1::Contributor& used : round.used()) answer_to(used.rank(), used.incarnation());
  for (const v1::Member& member : round.abstained()) {
    answer_to(member.rank(), member.incarnation());
  }
  uint64_t lowest = UINT64_MAX;
  for (v1::Member& member : *header->mutable_members()) {
    const v1::Member* old = FindMember(before, member.id());
    if (old == nullptr || old->incarnation() != member.incarnation()) continue;
    const bool answered = header->has_answer() && header->answer().rank() == member.rank();
    member.set_clock(old->clock() + (answered ? 1 : 0));
    member.set_answered_step(answered ? round.step() : old->answered_step());
    lowest = std::min(lowest, member.clock());
  }
  for (v1::Member& member : *header->mutable_members()) {
    const v1::Member* old = FindMember(before, member.id());
    if (old != nullptr && old->incarnation() == member.incarnation()) continue;
    member.set_clock(lowest == UINT64_MAX ? 0 : lowest);
    member.set_answered_step(version);
  }
}

absl::Status Coordinator::CheckLead(const WorkerEntry& worker) const {
  const v1::Member* const member = async_.member(worker.rank);
  const uint64_t most = job_->config.async().max_lead();
  if (member == nullptr) return absl::OkStatus();
  const uint64_t lead = member->clock() - async_.lowest_clock();
  if (lead <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("worker \"", worker.id, "\" sends a payload ",
                                                 lead, " ahead of the slowest member, at most ",
                                                 most, " are allowed (async.max_lead)"));
}

bool Coordinator::AllHaveAbstained() const {
  const auto& workers = membership_.workers();
  const auto& named = history_->replica().header().members();
  return std::all_of(named.begin(), named.end(), [&workers](const v1::Member& member) {
    const auto worker = workers.find(member.id());
    return worker != workers.end() && worker->second.abstained_running > 0;
  });
}

void Coordinator::CountAnswer(const v1::Header& header) {
  const v1::AsyncAnswer& answer = header.answer();
  CountAt(history_->replica().version() + 1 - answer.step(), &staleness_);
  const v1::Member* const member = async_.member(answer.rank());
  if (member != nullptr) CountAt(member->clock() - async_.lowest_clock(), &lead_);
}

}  // namespace gradwire
