// SPDX-License-Identifier: Apache-2.0
// How the coordinator gets from step to step: start, update, end, and who drops out.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/rpc/limits.h"
#include "server/coordinator.h"

namespace gradwire {
namespace {

constexpr size_t kRecentUpdates = 32;                       // over which the rate is taken
constexpr absl::Duration kMaxFarewell = absl::Minutes(10);  // for all to Leave at the job's end

}  // namespace

void Coordinator::Tick() {
  Effects effects;
  {
    MutexLock lock(&mu_);
    const absl::Duration now = clock_->Now();
    for (const WorkerEntry* lost : membership_.Expire(now)) {
      Depart(const_cast<WorkerEntry*>(lost), lost->state, lost->note, &effects);
    }
    const v1::Membership& config = job_->config.membership();
    if (phase_ == Phase::kWaiting &&
        now - created_ > absl::Seconds(config.start_timeout_seconds())) {
      Fail(absl::DeadlineExceededError(absl::StrCat(
               membership_.ready(), " of ", config.workers(), " workers were ready within ",
               config.start_timeout_seconds(), " s (membership.start_timeout_seconds)")),
           &effects);
    }
    Advance(&effects);
  }
  effects.Run();
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
  DropFromRound(worker->rank, effects);
}

void Coordinator::DepartRefused(Effects* effects) {
  while (const v1::Member* refused = round_.RefusedMember()) {
    counters_->payloads_refused.Add();
    const v1::Member member = *refused;
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
  if (!Running()) return;
  const bool full = Full();
  const bool thrown_away = round_.Drop(rank);
  if (full) WakeAll(effects);
  if (!thrown_away) return;
  v1::Control control;
  control.mutable_resend()->set_step(round_.step());
  for (const auto& [id, stream] : streams_) effects->Send(stream, control);
}

void Coordinator::Advance(Effects* effects) {
  if (drained_) return;
  if (Running()) DepartRefused(effects);
  if (phase_ == Phase::kWaiting && membership_.ready() >= job_->config.membership().workers()) {
    Start(effects);
  } else if (Running() && round_.complete()) {
    CloseRound(effects);
  } else if (phase_ == Phase::kFinishing) {
    FinishIfAllLeft(effects);
  }
}

void Coordinator::Start(Effects* effects) {
  const std::vector<v1::Member> members = membership_.ReadyMembers();
  v1::Header header;
  for (const v1::Member& member : members) *header.add_members() = member;
  header.set_next_learning_rate(learning_rate_.At(1));
  LogInfo(absl::StrCat("step 1 begins with ", members.size(), " workers"));
  phase_ = Phase::kTraining;
  started_ = clock_->Now();
  last_update_ = started_;
  Commit(0, MakeEmptyUpdate(0, header), header, effects);
}

v1::Header Coordinator::MakeHeader(const std::vector<v1::Member>& next) {
  v1::Header header;
  const Replica& replica = history_->replica();
  header.set_previous_chain_hash(std::string(AsView(replica.chain_hash())));
  for (const v1::Contributor& used : round_.used()) *header.add_used() = used;
  header.set_learning_rate(replica.header().next_learning_rate());
  header.set_loss(round_.loss());
  if (round_.evaluation() != nullptr) {
    *header.mutable_evaluation() = *round_.evaluation();
    learning_rate_.Observe(header.evaluation());
  }
  header.set_finished(round_.step() >= job_->config.steps());
  if (!header.finished()) {
    for (const v1::Member& member : next) *header.add_members() = member;
    header.set_next_learning_rate(learning_rate_.At(round_.step() + 1));
  }
  return header;
}

absl::Status Coordinator::CheckAbstentions() {
  const std::vector<v1::Member> abstained = round_.abstained();
  for (const v1::Contributor& used : round_.used()) {
    for (const auto& [id, worker] : membership_.workers()) {
      if (worker.rank != used.rank() || worker.incarnation != used.incarnation()) continue;
      const_cast<WorkerEntry&>(worker).abstained_running = 0;
    }
  }
  for (const v1::Member& member : abstained) {
    counters_->payloads_abstained.Add();
    const std::string reason =
        round_.end_of(member.rank())->abstain_reason().substr(0, kMaxTextBytes);
    LogWarning(absl::StrCat("worker \"", member.id(), "\" abstains from step ", round_.step(), ": ",
                            reason));
    if (round_.used().empty()) {
      return absl::OutOfRangeError(absl::StrCat(
          "step ", round_.step(), ": no worker has a finite gradient (worker \"", member.id(),
          "\": ", reason, "); the training has diverged: lower the learning rate"));
    }
    const auto worker = membership_.Find(member.id(), member.incarnation());
    if (worker.ok() && ++(*worker)->abstained_running >= kMaxAbstainedRunning) {
      return absl::OutOfRangeError(
          absl::StrCat("worker \"", member.id(), "\" has abstained ", kMaxAbstainedRunning,
                       " times running, last at step ", round_.step(), ": ", reason));
    }
  }
  return absl::OkStatus();
}

void Coordinator::CloseRound(Effects* effects) {
  const std::vector<v1::Member> next = membership_.ReadyMembers();
  const uint32_t min_workers = job_->config.membership().min_workers();
  const bool last = round_.step() >= job_->config.steps();
  if (!last && next.size() < min_workers) {
    if (phase_ != Phase::kStarved) {
      LogWarning(absl::StrCat("step ", round_.step(), " waits: ", next.size(), " of at least ",
                              min_workers, " workers (membership.min_workers) are here"));
    }
    phase_ = Phase::kStarved;
    return;
  }
  phase_ = Phase::kTraining;
  if (absl::Status status = CheckAbstentions(); !status.ok()) return Fail(status, effects);
  v1::Header header = MakeHeader(next);
  const bool resets = reset_rule_.Decide(round_, &header);
  if (header.used().empty()) {
    if (resets) update_maker_.ForgetResiduals();
    Commit(round_.step(), MakeEmptyUpdate(round_.step(), header), header, effects);
    return;
  }
  if (on_demand_.active()) {
    const double norm = update_maker_.Norm(round_, header.learning_rate());
    header.set_perturbation_scale(
        on_demand_.Decide(round_.step(), norm, history_->replica().parameters()));
  }
  absl::StatusOr<MadeUpdate> update = update_maker_.Make(round_, header);
  if (!update.ok()) return Fail(update.status(), effects);
  if (resets) update_maker_.ForgetResiduals();
  counters_->payloads_used.Add(static_cast<uint64_t>(header.used_size()));
  loss_ = header.loss();
  if (header.has_evaluation()) evaluation_ = header.evaluation();
  Commit(round_.step(), *std::move(update), header, effects);
}

void Coordinator::Commit(uint64_t version, MadeUpdate update, const v1::Header& header,
                         Effects* effects) {
  const uint64_t reset_id = history_->replica().reset_id();
  const Touched touched = std::move(update.touched);
  reset_rule_.Before(history_->replica().parameters(), touched);
  if (absl::Status status = history_->Commit(version, std::move(update)); !status.ok()) {
    return Fail(status, effects);
  }
  reset_rule_.After(history_->replica().parameters(), touched);
  last_update_ = clock_->Now();
  recent_updates_.push_back(last_update_);
  if (recent_updates_.size() > kRecentUpdates) recent_updates_.pop_front();
  if (header.finished()) {
    if (absl::Status status = history_->SaveFinal(); !status.ok()) return Fail(status, effects);
    if (absl::Status status = history_->SaveSnapshot(); !status.ok()) {
      return Fail(status, effects);
    }
    LogInfo(absl::StrCat("all ", version, " steps are done"));
    phase_ = Phase::kFinishing;
  } else {
    const std::vector<v1::Member> members(header.members().begin(), header.members().end());
    round_.Open(version + 1, members,
                {.flush = header.next_flush(),
                 .reset_before = header.reset_id() != reset_id,
                 .bases = history_->replica().bases()});
  }
  WakeAll(effects);
  ended_.NotifyAll();
}

void Coordinator::FinishIfAllLeft(Effects* effects) {
  // The silent ones go with their leases; who still speaks may be evaluating.
  if (membership_.alive() > 0 && clock_->Now() - last_update_ < kMaxFarewell) return;
  for (const auto& [id, stream] : streams_) {
    v1::Control control;
    control.mutable_stop()->set_reason("the job has ended");
    effects->Send(stream, std::move(control));
    effects->Close(stream, absl::OkStatus());
  }
  streams_.clear();
  phase_ = Phase::kFinished;
  ended_.NotifyAll();
}

void Coordinator::Fail(const absl::Status& status, Effects* effects) {
  LogError(absl::StrCat("the job stops: ", status.message()));
  failure_ = absl::FailedPreconditionError(absl::StrCat("the job has failed: ", status.message()));
  phase_ = Phase::kFailed;
  for (const auto& [id, stream] : streams_) effects->Close(stream, failure_);
  streams_.clear();
  ended_.NotifyAll();
}

void Coordinator::WakeAll(Effects* effects) {
  for (const auto& [id, stream] : streams_) effects->Wake(stream);
}

Coordinator::Result Coordinator::WaitForEnd(absl::Duration timeout) {
  MutexLock lock(&mu_);
  const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return phase_ == Phase::kFinished || phase_ == Phase::kFailed;
  };
  if (!ended()) ended_.WaitFor(&mu_, timeout);
  return {.phase = phase_,
          .failure = failure_,
          .version = history_->replica().version(),
          .seconds = absl::ToDoubleSeconds(last_update_ - started_),
          .loss = loss_,
          .evaluation = evaluation_,
          .parameters_hash = ended() ? history_->replica().ParametersHash() : 0,
          .departures = departures_};
}

absl::Status Coordinator::Drain(absl::Duration timeout) {
  Effects effects;
  absl::Status status;
  {
    MutexLock lock(&mu_);
    const uint64_t version = history_->replica().version();
    const absl::Duration until = clock_->Now() + timeout;
    while (phase_ == Phase::kTraining && history_->replica().version() == version &&
           clock_->Now() < until) {
      ended_.WaitFor(&mu_, absl::Milliseconds(50));
    }
    if (phase_ == Phase::kTraining && history_->replica().version() == version) {
      LogWarning(
          absl::StrCat("step ", round_.step(), " is given up: it waited for ", round_.Missing()));
    }
    drained_ = true;
    if (history_->replica().started()) status = history_->SaveSnapshot();
    for (const auto& [id, stream] : streams_) {
      effects.Close(stream, absl::UnavailableError("the server is shutting down"));
    }
    streams_.clear();
  }
  effects.Run();
  return status;
}

}  // namespace gradwire
