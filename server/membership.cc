// SPDX-License-Identifier: Apache-2.0
// Implementation of membership.h.
#include "server/membership.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

constexpr size_t kMaxNamed = 8;  // in a message

v1::Member MemberOf(const WorkerEntry& worker) {
  v1::Member member;
  member.set_id(worker.id);
  member.set_rank(worker.rank);
  member.set_incarnation(worker.incarnation);
  return member;
}

bool MayBeReplaced(const WorkerEntry& holder, absl::Duration now) {
  if (!holder.alive()) return true;
  if (holder.connected) return false;
  if (holder.restored) return true;
  // Its stream broke; or it joined, opened none, and fell silent.
  return holder.broken || now - holder.last_heard > Membership::kReconnectGrace;
}

}  // namespace

absl::string_view StateName(WorkerEntry::State state) {
  switch (state) {
    case WorkerEntry::State::kLeased:
      return "joined";
    case WorkerEntry::State::kReady:
      return "ready";
    case WorkerEntry::State::kLost:
      return "lost";
    case WorkerEntry::State::kLeft:
      return "left";
  }
  return "unknown";
}

void Membership::Restore(absl::Span<const v1::Member> members, absl::Duration now) {
  now_ = std::max(now_, now);
  last_expire_ = now;  // the replay that follows may take its time
  for (const v1::Member& member : members) {
    WorkerEntry& worker = workers_[member.id()];
    worker = WorkerEntry();
    worker.id = member.id();
    worker.rank = member.rank();
    worker.incarnation = member.incarnation();
    worker.session_known = false;
    worker.restored = true;
    worker.state = WorkerEntry::State::kReady;
    worker.last_heard = now;
    TellLease(&worker);
  }
}

std::vector<WorkerEntry*> Membership::Fix(absl::Span<const v1::Member> members) {
  std::vector<WorkerEntry*> others;
  if (config_.mode() != v1::Membership::FIXED) return others;
  fixed_ = true;
  for (auto& [id, worker] : workers_) worker.fixed = false;
  for (const v1::Member& member : members) {
    const auto found = workers_.find(member.id());
    if (found != workers_.end()) found->second.fixed = true;
  }
  for (auto& [id, worker] : workers_) {
    if (worker.alive() && !worker.fixed) others.push_back(&worker);
  }
  return others;
}

absl::Status Membership::CheckMayJoin(absl::string_view id) const {
  const auto found = workers_.find(std::string(id));
  if (!fixed_ || (found != workers_.end() && found->second.fixed)) return absl::OkStatus();
  const std::vector<v1::Member> members = NextMembers();
  std::string named;
  for (size_t i = 0; i < std::min(members.size(), kMaxNamed); ++i) {
    absl::StrAppend(&named, i == 0 ? "\"" : ", \"", members[i].id(), "\"");
  }
  if (members.size() > kMaxNamed) absl::StrAppend(&named, ", ... (", members.size(), " in all)");
  return absl::FailedPreconditionError(absl::StrCat(
      "the members of this job are fixed: ", named, "; worker id \"", id,
      "\" is none of them (membership.mode FIXED); give it the --worker_id of one of them"));
}

absl::StatusOr<WorkerEntry*> Membership::Join(absl::string_view id, uint64_t session,
                                              absl::string_view peer, absl::Duration now,
                                              bool* replaced) {
  *replaced = false;
  now_ = std::max(now_, now);
  GRADWIRE_RETURN_IF_ERROR(CheckMayJoin(id));
  const auto found = workers_.find(std::string(id));
  if (found != workers_.end()) {
    WorkerEntry& holder = found->second;
    if (holder.alive() && holder.session_known && holder.session == session) {
      holder.last_heard = now;
      return &holder;
    }
    if (!MayBeReplaced(holder, now)) {
      return absl::AlreadyExistsError(absl::StrCat(
          "worker id \"", id, "\" is alive at ", holder.peer, " (rank ", holder.rank,
          ", last heard ",
          absl::FormatDuration(absl::Trunc(now - holder.last_heard, absl::Milliseconds(1))),
          " ago); give this worker another --worker_id, or end the other"));
    }
    *replaced = holder.alive();
  }
  if (alive() >= kMaxAlive) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kMaxAlive, " workers are on this job already: the limit"));
  }
  const bool returns = found != workers_.end();
  WorkerEntry& worker = workers_[std::string(id)];
  worker.state = WorkerEntry::State::kLost;  // so that it does not hold a rank against itself
  if (!returns || AliveWithRank(worker.rank) != nullptr) worker.rank = LowestFreeRank();
  worker.id = std::string(id);
  worker.incarnation += 1;
  Lease(&worker, session, peer, now);
  ForgetOldest();
  return &worker;
}

void Membership::Lease(WorkerEntry* worker, uint64_t session, absl::string_view peer,
                       absl::Duration now) {
  worker->session = session;
  worker->session_known = true;
  worker->restored = false;
  worker->state = WorkerEntry::State::kLeased;
  worker->connected = false;
  worker->broken = false;
  worker->last_heard = now;
  worker->progress_age = absl::ZeroDuration();
  worker->abstained_running = 0;
  worker->peer = std::string(peer);
  worker->note.clear();
}

absl::StatusOr<WorkerEntry*> Membership::Admit(absl::string_view id, uint64_t session,
                                               uint32_t rank, uint64_t incarnation,
                                               absl::string_view peer, absl::Duration now,
                                               bool* replaced) {
  *replaced = false;
  now_ = std::max(now_, now);
  const auto found = workers_.find(std::string(id));
  if (found != workers_.end()) {
    WorkerEntry& holder = found->second;
    if (holder.incarnation > incarnation) {
      return absl::AbortedError(absl::StrCat("worker \"", id, "\": incarnation ", incarnation,
                                             " has been replaced by ", holder.incarnation));
    }
    if (holder.alive() && holder.session == session && holder.incarnation == incarnation) {
      holder.last_heard = now;
      return &holder;
    }
    *replaced = holder.alive() && holder.incarnation < incarnation;
  } else if (alive() >= kMaxAlive) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kMaxAlive, " workers are on this job already: the limit"));
  }
  WorkerEntry& worker = workers_[std::string(id)];
  worker.id = std::string(id);
  worker.rank = rank;
  worker.incarnation = incarnation;
  Lease(&worker, session, peer, now);
  ForgetOldest();
  return &worker;
}

absl::StatusOr<WorkerEntry*> Membership::Find(absl::string_view id, uint64_t incarnation) {
  const auto found = workers_.find(std::string(id));
  if (found == workers_.end()) {
    return absl::NotFoundError(absl::StrCat("worker \"", id, "\" has not joined this job"));
  }
  WorkerEntry& worker = found->second;
  if (worker.incarnation != incarnation) {
    return absl::AbortedError(absl::StrCat("worker \"", id, "\": incarnation ", incarnation,
                                           " has been replaced by ", worker.incarnation));
  }
  if (!worker.alive()) {
    return absl::AbortedError(absl::StrCat("worker \"", id, "\" incarnation ", incarnation, ": ",
                                           StateName(worker.state), " (", worker.note,
                                           "); join again"));
  }
  return &worker;
}

absl::Duration Membership::TellLease(WorkerEntry* worker) const {
  worker->lease = absl::Seconds(config_.lease_seconds());
  return worker->lease;
}

absl::Status Membership::Adopt(WorkerEntry* worker, uint64_t session) {
  if (session != 0) {
    if (worker->session_known && worker->session != session) {
      return absl::AbortedError(absl::StrCat("worker \"", worker->id, "\" incarnation ",
                                             worker->incarnation,
                                             ": another process has it; join again"));
    }
    worker->session = session;
    worker->session_known = true;
  }
  worker->restored = false;
  return absl::OkStatus();
}

uint64_t Membership::CountTooLarge(const std::string& id) {
  const auto found = workers_.find(id);
  return found == workers_.end() ? 0 : ++found->second.payloads_too_large;
}

const WorkerEntry* Membership::AliveWithRank(uint32_t rank) const {
  for (const auto& [id, worker] : workers_) {
    if (worker.alive() && worker.rank == rank) return &worker;
  }
  return nullptr;
}

void Membership::ForgivePause(absl::Duration now) {
  now_ = std::max(now_, now);
  const absl::Duration pause = now - last_expire_.value_or(now);
  last_expire_ = now;
  if (pause <= kMaxPause) return;
  for (auto& [id, worker] : workers_) {
    for (absl::Duration* time : {&worker.last_heard, &worker.broken_at, &worker.lost_at}) {
      *time =
          std::min(*time + pause, now);  // what came after the pause did not come later than now
    }
  }
}

std::vector<const WorkerEntry*> Membership::Expire(absl::Duration now) {
  ForgivePause(now);
  std::vector<const WorkerEntry*> lost;
  for (auto& [id, worker] : workers_) {
    if (!worker.alive()) continue;
    const absl::Duration lease = std::max(worker.lease, absl::Seconds(config_.lease_seconds()));
    if (worker.broken && now - worker.broken_at > kReconnectGrace) {
      Remove(&worker, WorkerEntry::State::kLost,
             absl::StrCat("its stream broke and it did not come back within ",
                          absl::FormatDuration(kReconnectGrace)));
    } else if (now - worker.last_heard > lease) {
      Remove(&worker, WorkerEntry::State::kLost,
             absl::StrCat(worker.restored ? "after the server's restart " : "",
                          "silent for longer than its lease of ", absl::FormatDuration(lease)));
    } else {
      continue;
    }
    lost.push_back(&worker);
  }
  return lost;
}

void Membership::Remove(WorkerEntry* worker, WorkerEntry::State state, absl::string_view note) {
  if (worker->alive()) worker->lost_at = now_;
  worker->state = state;
  worker->note = std::string(note);
  worker->connected = false;
}

const WorkerEntry* Membership::LostTooLong(absl::Duration now) const {
  const absl::Duration limit = absl::Seconds(config_.lost_timeout_seconds());
  for (const auto& [id, worker] : workers_) {
    if (worker.fixed && !worker.alive() && now - worker.lost_at > limit) return &worker;
  }
  return nullptr;
}

std::vector<WorkerEntry*> Membership::Stuck(absl::Duration limit) {
  std::vector<WorkerEntry*> stuck;
  for (auto& [id, worker] : workers_) {
    if (worker.state != WorkerEntry::State::kReady || worker.progress_age <= limit) continue;
    stuck.push_back(&worker);
  }
  return stuck;
}

template <typename Wanted>
std::vector<v1::Member> Membership::MembersThat(Wanted wanted) const {
  std::vector<v1::Member> members;
  for (const auto& [id, worker] : workers_) {
    if (wanted(worker)) members.push_back(MemberOf(worker));
  }
  std::sort(members.begin(), members.end(),
            [](const v1::Member& a, const v1::Member& b) { return a.rank() < b.rank(); });
  return members;
}

std::vector<v1::Member> Membership::ReadyMembers() const {
  return MembersThat([](const WorkerEntry& w) { return w.state == WorkerEntry::State::kReady; });
}

std::vector<v1::Member> Membership::NextMembers() const {
  if (!fixed_) return ReadyMembers();
  return MembersThat([](const WorkerEntry& w) { return w.fixed; });
}

std::optional<uint64_t> Membership::OldestSaved() const {
  std::optional<uint64_t> oldest;
  for (const auto& [id, worker] : workers_) {
    if (!worker.saved_version.has_value() || !(worker.alive() || worker.fixed)) continue;
    oldest = std::min(oldest.value_or(*worker.saved_version), *worker.saved_version);
  }
  return oldest;
}

size_t Membership::ready() const {
  return static_cast<size_t>(std::count_if(workers_.begin(), workers_.end(), [](const auto& w) {
    return w.second.state == WorkerEntry::State::kReady;
  }));
}

size_t Membership::alive() const {
  return static_cast<size_t>(std::count_if(workers_.begin(), workers_.end(),
                                           [](const auto& w) { return w.second.alive(); }));
}

uint32_t Membership::LowestFreeRank() const {
  std::set<uint32_t> taken;
  for (const auto& [id, worker] : workers_) {
    if (worker.alive()) taken.insert(worker.rank);
  }
  uint32_t rank = 0;
  for (const uint32_t used : taken) {
    if (used != rank) break;
    ++rank;
  }
  return rank;
}

void Membership::ForgetOldest() {
  size_t gone = 0;
  auto oldest = workers_.end();
  for (auto it = workers_.begin(); it != workers_.end(); ++it) {
    if (it->second.alive() || it->second.fixed) continue;
    ++gone;
    if (oldest == workers_.end() || it->second.last_heard < oldest->second.last_heard) oldest = it;
  }
  if (gone > kMaxGone) workers_.erase(oldest);
}

}  // namespace gradwire
