// SPDX-License-Identifier: Apache-2.0
// Implementation of membership.h.
#include "server/membership.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"

namespace gradwire {
namespace {

bool MayBeReplaced(const WorkerEntry& holder, absl::Duration now) {
  if (!holder.alive()) return true;
  if (holder.connected) return false;
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

absl::StatusOr<WorkerEntry*> Membership::Join(absl::string_view id, uint64_t session,
                                              absl::string_view peer, absl::Duration now,
                                              bool* replaced) {
  *replaced = false;
  const auto found = workers_.find(std::string(id));
  if (found != workers_.end()) {
    WorkerEntry& holder = found->second;
    if (holder.alive() && holder.session == session) {
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
  worker.session = session;
  worker.state = WorkerEntry::State::kLeased;
  worker.connected = false;
  worker.broken = false;
  worker.last_heard = now;
  worker.abstained_running = 0;
  worker.peer = std::string(peer);
  worker.note.clear();
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

const WorkerEntry* Membership::AliveWithRank(uint32_t rank) const {
  for (const auto& [id, worker] : workers_) {
    if (worker.alive() && worker.rank == rank) return &worker;
  }
  return nullptr;
}

std::vector<const WorkerEntry*> Membership::Expire(absl::Duration now) {
  const absl::Duration lease = absl::Seconds(config_.lease_seconds());
  std::vector<const WorkerEntry*> lost;
  for (auto& [id, worker] : workers_) {
    if (!worker.alive()) continue;
    if (worker.broken && now - worker.broken_at > kReconnectGrace) {
      Remove(&worker, WorkerEntry::State::kLost,
             absl::StrCat("its stream broke and it did not come back within ",
                          absl::FormatDuration(kReconnectGrace)));
    } else if (now - worker.last_heard > lease) {
      Remove(&worker, WorkerEntry::State::kLost,
             absl::StrCat("silent for longer than its lease of ", absl::FormatDuration(lease)));
    } else {
      continue;
    }
    lost.push_back(&worker);
  }
  return lost;
}

void Membership::Remove(WorkerEntry* worker, WorkerEntry::State state, absl::string_view note) {
  worker->state = state;
  worker->note = std::string(note);
  worker->connected = false;
}

std::vector<v1::Member> Membership::ReadyMembers() const {
  std::vector<v1::Member> members;
  for (const auto& [id, worker] : workers_) {
    if (worker.state != WorkerEntry::State::kReady) continue;
    v1::Member& member = members.emplace_back();
    member.set_id(id);
    member.set_rank(worker.rank);
    member.set_incarnation(worker.incarnation);
  }
  std::sort(members.begin(), members.end(),
            [](const v1::Member& a, const v1::Member& b) { return a.rank() < b.rank(); });
  return members;
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
  if (workers_.size() - alive() <= kMaxGone) return;
  auto oldest = workers_.end();
  for (auto it = workers_.begin(); it != workers_.end(); ++it) {
    if (it->second.alive()) continue;
    if (oldest == workers_.end() || it->second.last_heard < oldest->second.last_heard) oldest = it;
  }
  workers_.erase(oldest);
}

}  // namespace gradwire
