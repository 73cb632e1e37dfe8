// SPDX-License-Identifier: Apache-2.0
// How the coordinator of a shard after the first follows shard 0: ranks, members, learning rate,
// settings and the job's end are decided there, in the header that opens a step, and the workers
// bring that header with their payloads.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/replica/settings.h"
#include "server/coordinator.h"
#include "server/lead_header.h"

namespace gradwire {
namespace {

Shard ShardOf(const v1::JoinRequest& request) {
  if (!request.has_shard()) return {};
  return {.index = request.shard().index(), .count = request.shard().count()};
}

absl::StatusOr<v1::Header> ParseLead(const std::string& bytes, absl::string_view who) {
  v1::Header header;
  if (header.ParseFromString(bytes)) return header;
  return absl::InvalidArgumentError(
      absl::StrCat("worker \"", who, "\": ", bytes.size(), " bytes of lead_header are no Header"));
}

}  // namespace

absl::Status Coordinator::CheckShard(const v1::JoinRequest& request) const {
  const Shard taken_for = ShardOf(request);
  if (!(taken_for == job_->shard)) {
    const std::string list =
        job_->shard.alone() ? "one address"
                            : absl::StrCat(job_->shard.count, " addresses, separated by commas, ",
                                           "in the order of the shards");
    return absl::FailedPreconditionError(
        absl::StrCat("this server is shard ", ShardText(job_->shard), " of its job, worker \"",
                     request.worker_id(), "\" takes it for shard ", ShardText(taken_for),
                     ": --server names ", list));
  }
  if (!Follows() || request.lead().incarnation() > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "worker \"", request.worker_id(), "\" joins shard ", ShardText(job_->shard),
      " without a lease of shard 0, which gives ranks and incarnations: join there ", "first"));
}

absl::StatusOr<WorkerEntry*> Coordinator::Lease(const v1::JoinRequest& request,
                                                absl::string_view peer, Effects* effects) {
  const std::string& id = request.worker_id();
  const auto before = membership_.workers().find(id);
  const uint32_t old_rank = before == membership_.workers().end() ? 0 : before->second.rank;
  bool replaced = false;
  absl::StatusOr<WorkerEntry*> worker;
  if (Follows()) {
    const uint32_t rank = request.lead().rank();
    worker = membership_.Admit(id, request.session(), rank, request.lead().incarnation(), peer,
                               clock_->Now(), &replaced);
  } else {
    worker = membership_.Join(id, request.session(), peer, clock_->Now(), &replaced);
  }
  if (worker.ok() && replaced) DropFromRound(old_rank, effects);
  return worker;
}

void Coordinator::ResumeFollowing() {
  const Replica& replica = history_->replica();
  Effects nobody_is_here;
  started_ = last_update_ = seen_alive_ = clock_->Now();
  phase_ = Phase::kTraining;
  if (!replica.started()) {
    v1::Header header;
    absl::StatusOr<MadeUpdate> first = history_->state().MakeFirst(&header);
    if (!first.ok()) return Fail(first.status(), &nobody_is_here);
    return Commit(0, *std::move(first), std::move(header), &nobody_is_here);
  }
  loss_ = replica.header().loss();
  OpenRound();
  if (history_->finished()) {
    phase_ = Phase::kFinishing;
    began_ended_ = true;
    LogInfo("the job had ended before this start");
    return;
  }
  LogInfo(absl::StrCat("step ", round_.step(), " is open; shard 0's header comes with payloads"));
}

// The first payload of a step brings the header; every other one must have the same.
absl::Status Coordinator::TakeLead(const WorkerEntry& worker, const v1::Gradient& message,
                                   Effects* effects) {
  const std::string& bytes = message.lead_header();
  if (bytes.empty() ? IsLed() : bytes == lead_bytes_) return absl::OkStatus();
  if (bytes.empty()) {
    counters_->payloads_refused.Add(Refusal::kLeadHeader);
    return absl::InvalidArgumentError(
        absl::StrCat("worker \"", worker.id, "\": its payload of step ", round_.step(),
                     " lacks lead_header, shard 0's header that opened the step"));
  }
  if (IsLed()) {
    counters_->payloads_refused.Add(Refusal::kLeadHeader);
    return absl::FailedPreconditionError(absl::StrCat(
        "worker \"", worker.id, "\": its header of shard 0 for step ", round_.step(), " has hash ",
        HashText(Hash64(absl::string_view(bytes))), ", another worker's has ",
        HashText(Hash64(absl::string_view(lead_bytes_))),
        ": shard 0 has lost records that it had sent; start this shard again, which forgets the ",
        "open step, then the worker"));
  }
  GRADWIRE_ASSIGN_OR_RETURN(v1::Header header, ParseLead(bytes, worker.id));
  if (header.finished() || header.members().empty() ||
      !std::isfinite(header.next_learning_rate()) || !HasRightMembers(header) ||
      !Names(header, worker)) {
    counters_->payloads_refused.Add(Refusal::kLeadHeader);
    return absl::InvalidArgumentError(absl::StrCat(
        "worker \"", worker.id, "\": its header of shard 0 opens no step for it: it names ",
        header.members_size(), " members", Names(header, worker) ? "" : ", not this worker",
        HasRightMembers(header) ? "" : ", too many or not in the order of their ranks",
        "; learning rate ", header.next_learning_rate()));
  }
  if (const auto changed = WithSettings(config_, header.settings()); !changed.ok()) {
    counters_->payloads_refused.Add(Refusal::kLeadHeader);
    return absl::InvalidArgumentError(absl::StrCat("worker \"", worker.id,
                                                   "\": its header of shard 0 has settings that ",
                                                   "do not fit: ", changed.status().message()));
  }
  lead_header_ = std::move(header);
  lead_bytes_ = bytes;
  led_since_ = clock_->Now();
  const std::vector<v1::Member> members = {lead_header_.members().begin(),
                                           lead_header_.members().end()};
  round_.Open(round_.step(), members,
              {.flush = lead_header_.next_flush(),
               .bases = history_->replica().bases(),
               .keep_payloads = job_->keeps_payloads()});
  membership_.Fix(members);
  for (const auto& [id, known] : membership_.workers()) {
    if (known.alive()) ReplaceInRound(known, effects);
  }
  return absl::OkStatus();
}

// What comes next is shard 0's to say: nothing stands here.
v1::Header Coordinator::MakeFollowingHeader(const Round& round) {
  v1::Header header;
  header.set_previous_chain_hash(std::string(AsView(history_->replica().chain_hash())));
  for (const v1::Contributor& used : round.used()) *header.add_used() = used;
  header.set_learning_rate(lead_header_.next_learning_rate());
  header.set_loss(round.loss());
  if (lead_header_.has_settings()) *header.mutable_settings() = lead_header_.settings();
  return header;
}

// The worker may be unknown to a shard that was started again since.
absl::Status Coordinator::TakeEnd(const v1::LeaveRequest& request) {
  if (request.lead_header().empty() || !Running()) return absl::OkStatus();
  GRADWIRE_ASSIGN_OR_RETURN(const v1::Header header,
                            ParseLead(request.lead_header(), request.worker_id()));
  const v1::Point newest = NewestPoint();
  if (!header.finished() || request.at().version() != newest.version() ||
      request.at().chain_hash() != newest.chain_hash()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "worker \"", request.worker_id(), "\" says that the job has ended at version ",
        request.at().version(), ", but this shard is at version ", newest.version(),
        header.finished() ? ": start the worker again" : ", and shard 0's header does not say so"));
  }
  LogInfo(absl::StrCat("version ", newest.version(), " is the last, shard 0 says"));
  lead_header_ = header;
  last_update_ = clock_->Now();
  phase_ = Phase::kFinishing;  // what is left to do comes with the next Advance
  ended_.NotifyAll();
  return absl::OkStatus();
}

// Nothing else would end a shard whose job has failed or ended elsewhere.
void Coordinator::CheckLeft(absl::Duration now, Effects* effects) {
  if (!Running()) return;
  if (membership_.alive() > 0) seen_alive_ = now;
  const v1::Membership& config = config_.membership();
  const double limit = std::max(config.lost_timeout_seconds(), config.start_timeout_seconds());
  if (now - seen_alive_ > absl::Seconds(limit)) {
    return Fail(absl::DeadlineExceededError(absl::StrCat(
                    "no worker is here since ", limit,
                    " s (the longer of membership.start_timeout_seconds and lost_timeout_seconds), "
                    "at step ",
                    round_.step(), "; if shard 0 goes on, start this shard again")),
                effects);
  }
  DropAbsent(now, effects);
}

// ELASTIC: of the members that shard 0 has named, those that are not here have one lease to come.
void Coordinator::DropAbsent(absl::Duration now, Effects* effects) {
  if (IsFixed() || !IsLed()) return;
  const absl::Duration lease = absl::Seconds(config_.membership().lease_seconds());
  if (now - led_since_ <= lease) return;
  for (const v1::Member& member : lead_header_.members()) {
    const auto found = membership_.workers().find(member.id());
    const bool known = found != membership_.workers().end();
    if (known && found->second.alive() && found->second.incarnation == member.incarnation()) {
      continue;
    }
    if (known && now - found->second.lost_at <= lease) continue;
    DropFromRound(member.rank(), effects);
  }
}

// What saved states its members have is known; before that nothing may be given up.
bool Coordinator::MembersAreKnown() const {
  const auto& workers = membership_.workers();
  const auto& named = lead_header_.members();
  return !named.empty() &&
         std::all_of(named.begin(), named.end(), [&workers](const v1::Member& member) {
           return workers.find(member.id()) != workers.end();
         });
}

}  // namespace gradwire
