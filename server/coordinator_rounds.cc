// SPDX-License-Identifier: Apache-2.0
// How the coordinator gets from step to step: start, update, end, and who drops out.
#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/rpc/limits.h"
#include "server/coordinator.h"

namespace gradwire {
namespace {

constexpr size_t kWorthSendingEarly = size_t{1} << 20;      // bytes of an update
constexpr size_t kRecentUpdates = 32;                       // over which the rate is taken
constexpr absl::Duration kMaxFarewell = absl::Minutes(10);  // for all to Leave at the job's end

// Whether an evaluation ends the job.
bool Reaches(const v1::Target& target, const v1::Evaluation& evaluation) {
  if (target.metric() == "loss") return evaluation.loss() <= target.value();
  for (const v1::Metric& metric : evaluation.metrics()) {
    if (metric.name() == target.metric()) return metric.value() >= target.value();
  }
  return false;
}

}  // namespace

void Coordinator::Advance(Effects* effects) {
  if (drained_) return;
  if (pending_ != nullptr) return TryCommit(effects);
  if (Running() && Follows() && !IsLed()) return;
  if (Running() && IsAsync()) return AdvanceAsync(effects);
  if (Running() && job_->keeps_payloads() && !round_.complete() && MayClose()) {
    round_.CloseWithWhole();
  }
  if (Running()) DepartRefused(effects);
  if (phase_ == Phase::kWaiting && membership_.ready() >= job_->config.membership().workers()) {
    Start(effects);
  } else if (Running() && round_.complete()) {
    CloseRound(round_, effects);
  } else if (phase_ == Phase::kFinishing) {
    if (!final_saved_) SaveFinal(effects);
    if (final_saved_) FinishIfAllLeft(effects);
  }
}

void Coordinator::Start(Effects* effects) {
  std::vector<v1::Member> members = membership_.ReadyMembers();
  const uint32_t workers = job_->config.membership().workers();
  if (IsFixed() && members.size() > workers) members.resize(workers);
  for (WorkerEntry* other : membership_.Fix(members)) {
    Depart(other, WorkerEntry::State::kLeft, "the members are fixed", effects,
           membership_.CheckMayJoin(other->id));
  }
  v1::Header header;
  for (const v1::Member& member : members) *header.add_members() = member;
  LogInfo(absl::StrCat("step 1 begins with ", members.size(), " workers"));
  phase_ = Phase::kTraining;
  started_ = clock_->Now();
  last_update_ = started_;
  AddSettings(&header);
  absl::StatusOr<MadeUpdate> first = history_->state().MakeFirst(&header);
  if (!first.ok()) return Fail(first.status(), effects);
  Commit(0, *std::move(first), std::move(header), effects);
}

bool Coordinator::MayClose() {
  if (!IsQuorum()) return round_.awaited() == 0;
  const v1::Quorum& quorum = config_.quorum();
  const absl::Duration now = clock_->Now();
  const size_t arrived = round_.arrived();
  if (arrived > 0) first_arrival_ = std::min(first_arrival_, now);
  if (round_.awaited() == 0 || arrived >= quorum.workers()) return true;
  return arrived >= quorum.min_workers() &&
         now - first_arrival_ >= absl::Seconds(quorum.deadline_seconds());
}

v1::Header Coordinator::MakeHeader(const Round& round, const std::vector<v1::Member>& next) {
  v1::Header header;
  const Replica& replica = history_->replica();
  const uint64_t step = replica.version() + 1;
  header.set_previous_chain_hash(std::string(AsView(replica.chain_hash())));
  for (const v1::Contributor& used : round.used()) *header.add_used() = used;
  for (const Round::TooLarge& one : round.too_large()) {
    v1::Contributor* contributor = header.add_too_large();
    contributor->set_rank(one.member.rank());
    contributor->set_incarnation(one.member.incarnation());
  }
  header.set_learning_rate(replica.header().next_learning_rate());
  header.set_loss(round.loss());
  if (round.evaluation() != nullptr) *header.mutable_evaluation() = *round.evaluation();
  AddSettings(&header);
  const bool reached = config_.has_target() && header.has_evaluation() &&
                       Reaches(config_.target(), header.evaluation());
  if (reached) LogInfo(absl::StrCat("step ", step, ": the target is reached"));
  header.set_finished(reached || step >= config_.steps());
  if (!header.finished()) {
    for (const v1::Member& member : next) *header.add_members() = member;
  }
  if (IsAsync()) FillAsyncHeader(round, &header);
  return header;
}

absl::Status Coordinator::CheckAbstentions(const Round& round) {
  const uint64_t step = round.step();
  const std::vector<v1::Member> abstained = round.abstained();
  const std::vector<v1::Contributor> used = round.used();
  for (const auto& [id, worker] : membership_.workers()) {
    if (worker.abstained_running == 0) continue;
    const bool was_used =
        std::any_of(used.begin(), used.end(), [&worker = worker](const v1::Contributor& one) {
          return one.rank() == worker.rank && one.incarnation() == worker.incarnation;
        });
    if (was_used) const_cast<WorkerEntry&>(worker).abstained_running = 0;
  }
  for (const v1::Member& member : abstained) {
    counters_->payloads_abstained.Add();
    const std::string reason =
        round.end_of(member.rank())->abstain_reason().substr(0, kMaxTextBytes);
    LogWarning(
        absl::StrCat("worker \"", member.id(), "\" abstains from step ", step, ": ", reason));
    const auto worker = membership_.Find(member.id(), member.incarnation());
    const uint32_t running = worker.ok() ? ++(*worker)->abstained_running : 0;
    if (IsAsync() ? AllHaveAbstained() : used.empty()) {
      return absl::OutOfRangeError(
          absl::StrCat("step ", step, ": no worker has a finite gradient (worker \"", member.id(),
                       "\": ", reason, "); the training has diverged: lower the learning rate"));
    }
    if (running >= kMaxAbstainedRunning) {
      return absl::OutOfRangeError(
          absl::StrCat("worker \"", member.id(), "\" has abstained ", kMaxAbstainedRunning,
                       " times running, last at step ", step, ": ", reason));
    }
  }
  return absl::OkStatus();
}

// Said each time that the number of them has doubled: a hostile worker does not fill the log.
void Coordinator::CountTooLarge(const Round& round) {
  for (const Round::TooLarge& one : round.too_large()) {
    counters_->payloads_too_large.Add();
    const uint64_t count = membership_.CountTooLarge(one.member.id());
    if (!std::has_single_bit(count)) continue;
    LogWarning(absl::StrCat("worker \"", one.member.id(), "\": its payload of step ", round.step(),
                            " has the norm ", one.norm, ", the median of the step's is ",
                            one.median, ": above ", config_.max_norm_factor(),
                            " times that (max_norm_factor) it is left out, the ", count,
                            ". of this worker"));
  }
}

void Coordinator::CloseRound(const Round& round, Effects* effects) {
  const std::vector<v1::Member> next = membership_.NextMembers();
  const uint32_t min_workers = config_.membership().min_workers();
  const uint64_t step = history_->replica().version() + 1;
  const bool last = step >= config_.steps();
  if (!last && !Follows() && next.size() < min_workers) {
    if (phase_ != Phase::kStarved) {
      LogWarning(absl::StrCat("step ", step, " waits: ", next.size(), " of at least ", min_workers,
                              " workers (membership.min_workers) are here"));
    }
    phase_ = Phase::kStarved;
    return;
  }
  phase_ = Phase::kTraining;
  if (absl::Status status = CheckAbstentions(round); !status.ok()) return Fail(status, effects);
  v1::Header header = Follows() ? MakeFollowingHeader(round) : MakeHeader(round, next);
  made_from_ = clock_->Now();
  const Stopwatch watch;
  absl::StatusOr<MadeUpdate> update = history_->state().Make(round, history_->replica(), &header);
  encode_time_ = watch.elapsed();
  if (!update.ok()) return Fail(update.status(), effects);
  counters_->payloads_used.Add(static_cast<uint64_t>(header.used_size()));
  CountTooLarge(round);
  if (header.used_size() > 0) loss_ = header.loss();
  if (header.has_evaluation()) evaluation_ = header.evaluation();
  if (header.has_answer()) CountAnswer(header);
  Commit(step, *std::move(update), std::move(header), effects);
}

void Coordinator::Commit(uint64_t version, MadeUpdate update, v1::Header header, Effects* effects) {
  if (job_->keeps_no_log()) update.server_part.clear();  // nobody will replay it
  pending_ = MakeRecord(version, std::move(update.parts), update.payload_bytes,
                        std::move(update.server_part));
  pending_header_ = std::move(header);
  TryCommit(effects);
}

void Coordinator::TryCommit(Effects* effects) {
  // A large update is on its way while the replica here still applies it.
  std::vector<std::shared_ptr<Subscriber>> readers;
  if (pending_->bytes >= kWorthSendingEarly) {
    for (const auto& [id, stream] : streams_) readers.push_back(stream);
  }
  const absl::Status status = history_->Commit(pending_, pending_header_, [&readers] {
    for (const std::shared_ptr<Subscriber>& reader : readers) reader->WakeSoon();
  });
  if (absl::IsResourceExhausted(status)) {
    if (phase_ != Phase::kPaused) {
      LogError(absl::StrCat("the training pauses: ", status.message(),
                            "; it goes on when there is room"));
    }
    phase_ = Phase::kPaused;
    return;
  }
  if (!status.ok()) return Fail(status, effects);
  if (phase_ == Phase::kPaused) LogInfo("there is room again: the training goes on");
  phase_ = Phase::kTraining;
  pending_ = nullptr;
  last_update_ = clock_->Now();
  recent_updates_.push_back(last_update_);
  if (recent_updates_.size() > kRecentUpdates) recent_updates_.pop_front();
  NoteRound();
  SettingsCommitted(effects);
  if (pending_header_.finished()) {
    LogInfo(absl::StrCat("version ", history_->replica().version(), " is the last"));
    phase_ = Phase::kFinishing;
    SaveFinal(effects);
  } else {
    OpenRound();
  }
  WakeAll(effects);
  ended_.NotifyAll();
}

void Coordinator::SaveFinal(Effects* effects) {
  absl::Status status = history_->SaveFinal();
  if (status.ok()) status = history_->SaveSnapshot();
  if (status.ok() && Follows()) status = history_->NoteFinished();
  if (status.ok()) final_saved_ = true;
  if (absl::IsResourceExhausted(status)) {
    if (!final_refused_) {
      LogError(absl::StrCat("the final model cannot be saved yet: ", status.message(),
                            "; it is tried until there is room"));
    }
    final_refused_ = true;
  } else if (!status.ok()) {
    Fail(status, effects);
  }
}

void Coordinator::FinishIfAllLeft(Effects* effects) {
  // The silent ones go with their leases; who still speaks may be evaluating.
  const absl::Duration now = clock_->Now();
  if (membership_.alive() > 0 && now - last_update_ < kMaxFarewell) return;
  // Who was here before the restart is not known to a shard that follows: all have one lease.
  const absl::Duration lease = absl::Seconds(config_.membership().lease_seconds());
  if (began_ended_ && now - created_ < lease) return;
  for (const auto& [id, stream] : streams_) {
    v1::Control control;
    control.mutable_stop()->set_reason("the job has ended");
    effects->Send(stream, std::move(control));
    effects->Close(stream, absl::OkStatus());
  }
  streams_.clear();
  phase_ = Phase::kFinished;
  AnswerDrain(absl::OkStatus(), effects);
  ended_.NotifyAll();
}

void Coordinator::Fail(const absl::Status& status, Effects* effects) {
  LogError(absl::StrCat("the job stops: ", status.message()));
  failure_ = absl::FailedPreconditionError(absl::StrCat("the job has failed: ", status.message()));
  cause_ = absl::Status(status.code(), failure_.message());
  phase_ = Phase::kFailed;
  accepting_.store(false, std::memory_order_relaxed);
  RefuseSettings(failure_, effects);
  AnswerDrain(failure_, effects);
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
          .failure = cause_,
          .version = history_->replica().version(),
          .steps = config_.steps(),
          .seconds = absl::ToDoubleSeconds(last_update_ - started_),
          .loss = loss_,
          .evaluation = evaluation_,
          .parameters_hash = ended() ? history_->ParametersHash() : 0,
          .departures = departures_,
          .staleness = staleness_,
          .lead = lead_};
}

absl::Status Coordinator::Drain(absl::Duration timeout) {
  accepting_.store(false, std::memory_order_relaxed);
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
      LogWarning(absl::StrCat("step ", round_.step(), " is given up: it waited for ", Missing()));
    }
    drained_ = true;
    RefuseSettings(absl::UnavailableError("the server is shutting down; the change is not on the "
                                          "log: ask for it again when the server is back"),
                   &effects);
    // With a record that the disk had no room for, the state is ahead of the replica.
    if (history_->replica().started() && pending_ == nullptr) status = history_->SaveSnapshot();
    for (const auto& [id, stream] : streams_) {
      effects.Close(stream, absl::UnavailableError("the server is shutting down"));
    }
    streams_.clear();
    AnswerDrain(status, &effects);
  }
  effects.Run();
  return status;
}

}  // namespace gradwire
