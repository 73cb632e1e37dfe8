// SPDX-License-Identifier: Apache-2.0
// How the coordinator deals with workers that go: lost, stuck, refused, or for good.
#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/rpc/limits.h"
#include "server/coordinator.h"
#include "server/lead_header.h"

namespace gradwire {
namespace {

constexpr absl::Duration kLeastStepTimeout = absl::Seconds(60);
constexpr int kMedianSteps = 10;  // that a trainer may take for one

absl::Duration MedianStep(const std::deque<absl::Duration>& updates) {
  if (updates.size() < 2) return absl::ZeroDuration();
  std::vector<absl::Duration> steps;
  for (size_t i = 1; i < updates.size(); ++i) steps.push_back(updates[i] - updates[i - 1]);
  const auto middle = steps.begin() + static_cast<ptrdiff_t>(steps.size() / 2);
  std::nth_element(steps.begin(), middle, steps.end());
  return *middle;
}

}  // namespace

void Coordinator::Tick() {
  Effects effects;
  {
    MutexLock lock(&mu_);
    const absl::Duration now = clock_->Now();
    history_->SyncLog(now);
    for (const WorkerEntry* lost : membership_.Expire(now)) {
      Depart(const_cast<WorkerEntry*>(lost), lost->state, lost->note, &effects);
    }
    DepartStuck(&effects);
    CheckLost(now, &effects);
    if (Follows()) CheckLeft(now, &effects);
    const v1::Membership& config = config_.membership();
    if (phase_ == Phase::kWaiting &&
        now - created_ > absl::Seconds(config.start_timeout_seconds())) {
      Fail(absl::DeadlineExceededError(absl::StrCat(
               membership_.ready(), " of ", config.workers(), " workers were ready within ",
               config.start_timeout_seconds(), " s (membership.start_timeout_seconds)")),
           &effects);
    }
    Advance(&effects);
    ExpireSettings(now, &effects);
    NoteJobFile();
    TrimLog();
  }
  effects.Run();
}

// Until everybody who was a member before a restart has been heard, nobody knows what they need.
void Coordinator::TrimLog() {
  if (Follows() && !MembersAreKnown()) return;
  for (const auto& [id, worker] : membership_.workers()) {
    if (worker.alive() && worker.restored) return;
  }
  uint64_t oldest = membership_.OldestSaved().value_or(history_->replica().version());
  if (IsAsync()) oldest = std::min(oldest, async_.oldest_base(history_->replica().version()));
  history_->Trim(BeforeLag(oldest));
}

void Coordinator::DepartStuck(Effects* effects) {
  if (phase_ != Phase::kTraining) return;
  const double configured = config_.membership().step_timeout_seconds();
  const absl::Duration limit =
      configured > 0 ? absl::Seconds(configured)
                     : std::max(kLeastStepTimeout, kMedianSteps * MedianStep(recent_updates_));
  for (WorkerEntry* worker : membership_.Stuck(limit)) {
    Depart(worker, WorkerEntry::State::kLost,
           absl::StrCat("its heartbeats come, but its trainer has got no further for ",
                        absl::FormatDuration(absl::Trunc(worker->progress_age, absl::Seconds(1))),
                        " (membership.step_timeout_seconds)"),
           effects);
  }
}

void Coordinator::CheckLost(absl::Duration now, Effects* effects) {
  const WorkerEntry* lost = membership_.LostTooLong(now);
  if (lost == nullptr || !Running()) return;
  Fail(absl::DeadlineExceededError(absl::StrCat(
           "worker \"", lost->id, "\" (rank ", lost->rank, ") was lost and did not return within ",
           config_.membership().lost_timeout_seconds(),
           " s (membership.lost_timeout_seconds), at step ", round_.step(),
           "; start it and the server again, with the same --state_dir, to go on")),
       effects);
}

void Coordinator::Depart(WorkerEntry* worker, WorkerEntry::State state, std::string reason,
                         Effects* effects, absl::Status error) {
  membership_.Remove(worker, state, reason);
  const bool ending = phase_ == Phase::kFinishing || phase_ == Phase::kFinished;
  if (!ending) {
    const uint64_t step = Running() ? round_.step() : 0;
    LogWarning(absl::StrCat("worker \"", worker->id, "\" (rank ", worker->rank, ") is out at step ",
                            step, ": ", reason));
    worker->note = absl::StrCat(reason, " (at step ", step, ")");
    const bool lost = state == WorkerEntry::State::kLost;
    (lost ? counters_->workers_lost : counters_->workers_left).Add();
    if (departures_.size() < kMaxDepartures) {
      departures_.push_back(
          {.worker = worker->id, .rank = worker->rank, .step = step, .reason = std::move(reason)});
    }
  }
  const auto stream = streams_.find(worker->id);
  if (stream != streams_.end()) {
    if (ending) {
      v1::Control control;
      control.mutable_stop()->set_reason("the job has ended");
      effects->Send(stream->second, std::move(control));
      effects->Close(stream->second, absl::OkStatus());
    } else {
      const bool lost = state == WorkerEntry::State::kLost;
      if (error.ok() && lost) error = absl::AbortedError(worker->note);
      effects->Close(stream->second, std::move(error));
    }
    streams_.erase(stream);
  }
  if (!Follows() || Names(lead_header_, *worker)) DropFromRound(worker->rank, effects);
}

void Coordinator::DepartRefused(Effects* effects) {
  while (const v1::Member* refused = round_.RefusedMember()) {
    counters_->payloads_refused.Add(Refusal::kOverflow);
    const v1::Member member = *refused;
    if (IsFixed()) {
      return Fail(absl::OutOfRangeError(absl::StrCat(
                      "step ", round_.step(), ": the payload of worker \"", member.id(),
                      "\", added to those of lower ranks, overflows; the training has diverged: ",
                      "lower the learning rate")),
                  effects);
    }
    const auto worker = membership_.Find(member.id(), member.incarnation());
    if (worker.ok()) {
      Depart(*worker, WorkerEntry::State::kLost,
             "its payload, added to those of lower ranks, overflows", effects);
    } else {
      DropFromRound(member.rank(), effects);
    }
  }
}

void Coordinator::DropFromRound(uint32_t rank, Effects* effects) {
  if (!Running() || IsFixed()) return;
  if (IsAsync()) return async_.Drop(rank);
  const bool full = Full();
  const bool thrown_away = round_.Drop(rank);
  if (full) WakeAll(effects);
  if (thrown_away) AskAllAgain(effects);
}

void Coordinator::ReplaceInRound(const WorkerEntry& worker, Effects* effects) {
  if (!Running() || !IsFixed()) return;
  if (Follows() && !Names(lead_header_, worker)) return;
  const v1::Member* member = IsAsync() ? async_.member(worker.rank) : nullptr;
  if (member != nullptr && member->incarnation() != worker.incarnation) async_.Drop(worker.rank);
  const bool full = Full();
  const bool thrown_away = round_.Replace(worker.rank, worker.incarnation);
  if (full) WakeAll(effects);
  if (thrown_away) AskAllAgain(effects);
}

void Coordinator::AskAllAgain(Effects* effects) {
  v1::Control control;
  control.mutable_resend()->set_step(round_.step());
  for (const auto& [id, stream] : streams_) effects->Send(stream, control);
}

}  // namespace gradwire
