// SPDX-License-Identifier: Apache-2.0
// How the coordinator goes on from what an earlier life of this server has left on the disk.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "server/coordinator.h"

namespace gradwire {
namespace {

std::vector<v1::Member> MembersOf(const v1::Header& header) {
  return {header.members().begin(), header.members().end()};
}

// Of the record that came before the newest: who worked on the last step.
std::vector<v1::Member> MembersBefore(const UpdateLog& log, uint64_t version) {
  const std::shared_ptr<const Record> record = version > 0 ? log.Find(version - 1) : nullptr;
  v1::UpdatePart last;
  if (record == nullptr || !last.ParseFromString(record->parts.back())) return {};
  return MembersOf(last.header());
}

}  // namespace

void Coordinator::Resume() {
  MutexLock lock(&mu_);
  if (Follows()) return ResumeFollowing();
  const Replica& replica = history_->replica();
  if (!replica.started()) return;
  const v1::Header& header = replica.header();
  TakeConfig(history_->state().config());
  RememberMembers();
  loss_ = header.loss();
  evaluation_ = header.evaluation();
  started_ = clock_->Now();
  last_update_ = started_;
  const std::vector<v1::Member> members =
      header.finished() ? MembersBefore(log_, replica.version()) : MembersOf(header);
  membership_.Restore(members, clock_->Now());
  membership_.Fix(members);
  if (header.finished()) {
    phase_ = Phase::kFinishing;
    LogInfo("the job had ended before this start");
    return;
  }
  phase_ = Phase::kTraining;
  OpenRound();
  LogInfo(absl::StrCat("step ", round_.step(), " is open; waiting for ", Missing()));
}

// A returning id gets its rank back, and a new incarnation.
void Coordinator::RememberMembers() {
  for (const auto& [id, known] : history_->state().known()) {
    v1::Member member;
    member.set_id(id);
    member.set_rank(known.rank);
    member.set_incarnation(known.incarnation);
    membership_.Restore({member}, clock_->Now());
    const auto worker = membership_.Find(id, known.incarnation);
    if (worker.ok()) {
      membership_.Remove(*worker, WorkerEntry::State::kLost, "gone before the server's restart");
    }
  }
}

void Coordinator::OpenRound() {
  const Replica& replica = history_->replica();
  std::vector<v1::Member> members = MembersOf(replica.header());
  lead_bytes_.clear();  // the members of a shard that follows come with the first payload
  if (Follows()) TakeConfig(history_->state().config());
  if (IsAsync()) {
    async_.Open(replica.header());
    members.clear();
  }
  round_.Open(replica.version() + 1, members,
              {.flush = replica.header().next_flush(),
               .reset_before = history_->state().reset_before(),
               .bases = replica.bases(),
               .keep_payloads = job_->keeps_payloads()});
  first_arrival_ = absl::InfiniteDuration();
  opened_ = clock_->Now();
}

}  // namespace gradwire
