// SPDX-License-Identifier: Apache-2.0
// What the coordinator answers to workers: leases, streams and payloads.
#include "server/coordinator.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/replica/point.h"
#include "common/rpc/limits.h"

namespace gradwire {
namespace {

absl::Status CheckText(absl::string_view name, const std::string& text, bool required) {
  if (required && text.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is empty"));
  }
  if (text.size() <= kMaxTextBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " has ", text.size(), " bytes, at most ", kMaxTextBytes, " are allowed"));
}

constexpr char kFollowers[] = "\xff";  // begins their keys: in no UTF-8, so in no worker id
constexpr ptrdiff_t kMaxFollowers = 1000;

// Of a stream among all streams.
std::string StreamKey(const v1::Hello& who, const Subscriber* stream) {
  if (!who.follower()) return who.worker_id();
  return absl::StrCat(kFollowers, absl::Hex(reinterpret_cast<uintptr_t>(stream)));
}

absl::Status CheckFollower(const v1::Hello& hello, const Job& job, ptrdiff_t followers) {
  GRADWIRE_RETURN_IF_ERROR(CheckText("worker_id", hello.worker_id(), false));
  if (hello.schema_hash() != job.schema_hash) {
    return absl::FailedPreconditionError(
        absl::StrCat("follower \"", hello.worker_id(), "\" expects a job with schema ",
                     HashText(hello.schema_hash()), ", this server's job \"", job.config.name(),
                     "\" has ", HashText(job.schema_hash), ": the jobs differ, or the builds do"));
  }
  if (followers < kMaxFollowers) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the server has ", kMaxFollowers, " followers, and takes no more: try later"));
}

absl::Status CheckTakesPart(const v1::Hello& who) {
  if (!who.follower()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "follower \"", who.worker_id(), "\" may send nothing but its hello: to take part, Join"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Create(CoordinatorOptions options,
                                                                 std::shared_ptr<const Job> job,
                                                                 const Clock* clock,
                                                                 ServerCounters* counters) {
  GRADWIRE_ASSIGN_OR_RETURN(std::unique_ptr<History> history, History::Open(job, options.history));
  std::unique_ptr<Coordinator> coordinator(
      new Coordinator(std::move(options), std::move(job), std::move(history), clock, counters));
  coordinator->Resume();
  GRADWIRE_RETURN_IF_ERROR(coordinator->TakeFileChanges());
  return coordinator;
}

Coordinator::Coordinator(CoordinatorOptions options, std::shared_ptr<const Job> job,
                         std::unique_ptr<History> history, const Clock* clock,
                         ServerCounters* counters)
    : options_(std::move(options)),
      job_(std::move(job)),
      clock_(clock),
      counters_(counters),
      history_(std::move(history)),
      log_(history_->log()),
      snapshots_(history_->snapshots()),
      config_(job_->config),
      membership_(job_->config.membership()),
      round_(job_),
      async_(job_),
      created_(clock->Now()) {}

absl::StatusOr<v1::JoinResponse> Coordinator::Join(const v1::JoinRequest& request,
                                                   absl::string_view peer) {
  GRADWIRE_RETURN_IF_ERROR(CheckText("worker_id", request.worker_id(), true));
  GRADWIRE_RETURN_IF_ERROR(CheckText("build", request.build(), false));
  if (request.apply_revision() != kApplyRevision) {
    return absl::FailedPreconditionError(
        absl::StrCat("worker \"", request.worker_id(), "\" applies updates by revision ",
                     request.apply_revision(), ", this server by ", kApplyRevision,
                     ": their models would differ; run one build everywhere"));
  }
  if (request.schema_hash() != 0 && request.schema_hash() != job_->schema_hash) {
    return absl::FailedPreconditionError(absl::StrCat(
        "worker \"", request.worker_id(), "\" expects a job with schema ",
        HashText(request.schema_hash()), ", this server's job \"", job_->config.name(), "\" has ",
        HashText(job_->schema_hash), ": model, codec, optimizer or seed differ"));
  }
  GRADWIRE_RETURN_IF_ERROR(CheckShard(request));
  Effects effects;
  absl::StatusOr<v1::JoinResponse> response;
  {
    MutexLock lock(&mu_);
    response = JoinLocked(request, peer, &effects);
  }
  effects.Run();
  return response;
}

absl::StatusOr<v1::JoinResponse> Coordinator::JoinLocked(const v1::JoinRequest& request,
                                                         absl::string_view peer, Effects* effects) {
  if (phase_ == Phase::kFailed) return failure_;
  if (drained_) return absl::UnavailableError("the server is shutting down");
  GRADWIRE_ASSIGN_OR_RETURN(WorkerEntry * worker, Lease(request, peer, effects));
  ReplaceInRound(*worker, effects);
  Advance(effects);
  if (pending_ == nullptr) history_->SnapshotForJoiner();
  LogInfo(absl::StrCat("worker \"", worker->id, "\" joined from ", peer, " as rank ", worker->rank,
                       ", incarnation ", worker->incarnation, request.build().empty() ? "" : ", ",
                       request.build()));
  v1::JoinResponse response;
  response.set_rank(worker->rank);
  response.set_incarnation(worker->incarnation);
  response.set_lease_seconds(absl::ToDoubleSeconds(membership_.TellLease(worker)));
  *response.mutable_job() = history_->state().config();
  response.set_schema_hash(job_->schema_hash);
  response.set_apply_revision(kApplyRevision);
  *response.mutable_newest() = NewestPoint();
  response.set_oldest_version(log_.range().oldest);
  response.set_finished(phase_ == Phase::kFinishing || phase_ == Phase::kFinished);
  if (!job_->shard.alone()) {
    response.mutable_shard()->set_index(job_->shard.index);
    response.mutable_shard()->set_count(job_->shard.count);
  }
  AnswerSaved(request, worker, &response);
  return response;
}

void Coordinator::AnswerSaved(const v1::JoinRequest& request, WorkerEntry* worker,
                              v1::JoinResponse* response) const {
  const uint64_t oldest = log_.range().oldest;
  worker->saved_version.reset();  // what it had once, and no longer has, holds back no log
  for (const v1::Point& saved : request.saved()) {
    const uint64_t version = saved.version();
    worker->saved_version = std::min(worker->saved_version.value_or(version), version);
    const std::optional<Snapshots::File> from = snapshots_.Newest(BeforeLag(version));
    const bool reachable = oldest == 0 || (from.has_value() && from->version + 1 >= oldest);
    if (!reachable || !OnLog(saved)) continue;
    if (!response->has_recover_at() || response->recover_at().version() < version) {
      *response->mutable_recover_at() = saved;
    }
  }
}

// The log may begin after a snapshot, whose own record is then not on it.
bool Coordinator::OnLog(const v1::Point& point) const {
  const v1::Point newest = NewestPoint();
  if (newest.version() == point.version()) return newest.chain_hash() == point.chain_hash();
  const std::shared_ptr<const Record> record = log_.Find(point.version());
  if (record != nullptr) return AsView(record->chain_hash) == point.chain_hash();
  const std::optional<Snapshots::File> snapshot = snapshots_.Newest(point.version());
  return snapshot.has_value() && snapshot->version == point.version() &&
         AsView(snapshot->chain_hash) == point.chain_hash();
}

v1::Point Coordinator::NewestPoint() const { return PointAt(history_->replica()); }

absl::StatusOr<v1::HeartbeatResponse> Coordinator::Heartbeat(const v1::HeartbeatRequest& request) {
  MutexLock lock(&mu_);
  GRADWIRE_ASSIGN_OR_RETURN(WorkerEntry * worker,
                            membership_.Find(request.worker_id(), request.incarnation()));
  worker->last_heard = clock_->Now();
  worker->step = std::max(worker->step, request.step());
  worker->progress_age = absl::Seconds(request.progress_age_seconds());
  if (request.has_saved_version()) worker->saved_version = request.saved_version();
  v1::HeartbeatResponse response;
  response.set_lease_seconds(absl::ToDoubleSeconds(membership_.TellLease(worker)));
  return response;
}

absl::StatusOr<v1::LeaveResponse> Coordinator::Leave(const v1::LeaveRequest& request) {
  GRADWIRE_RETURN_IF_ERROR(CheckText("reason", request.reason(), false));
  Effects effects;
  v1::LeaveResponse response;
  {
    MutexLock lock(&mu_);
    if (Follows()) GRADWIRE_RETURN_IF_ERROR(TakeEnd(request));
    GRADWIRE_ASSIGN_OR_RETURN(WorkerEntry * worker,
                              membership_.Find(request.worker_id(), request.incarnation()));
    if (phase_ == Phase::kFinishing || phase_ == Phase::kFinished) {
      const uint64_t hash = history_->ParametersHash();
      response.set_parameters_hash(hash);
      if (request.at().version() == history_->replica().version() &&
          request.parameters_hash() != hash) {
        LogError(absl::StrCat("worker \"", worker->id, "\" ended with parameters ",
                              HashText(request.parameters_hash()), ", the server's are ",
                              HashText(hash)));
      }
      if (request.has_evaluation()) evaluation_ = request.evaluation();
    }
    Depart(worker, WorkerEntry::State::kLeft, absl::StrCat("left: ", request.reason()), &effects);
    Advance(&effects);
  }
  effects.Run();
  return response;
}

absl::StatusOr<uint64_t> Coordinator::Hello(const v1::Hello& hello,
                                            std::shared_ptr<Subscriber> stream) {
  Effects effects;
  absl::StatusOr<uint64_t> next = 0;
  {
    MutexLock lock(&mu_);
    if (drained_) return absl::UnavailableError("the server is shutting down");
    if (phase_ == Phase::kFailed) return failure_;
    WorkerEntry* worker = nullptr;  // a follower is none
    if (hello.follower()) {
      GRADWIRE_RETURN_IF_ERROR(CheckFollower(
          hello, *job_, std::distance(streams_.lower_bound(kFollowers), streams_.end())));
    } else {
      GRADWIRE_ASSIGN_OR_RETURN(worker, membership_.Find(hello.worker_id(), hello.incarnation()));
      GRADWIRE_RETURN_IF_ERROR(membership_.Adopt(worker, hello.session()));
      worker->connected = true;
      worker->broken = false;
      worker->last_heard = clock_->Now();
    }
    const bool fresh = hello.at().chain_hash().empty();
    const uint64_t oldest = log_.range().oldest;
    next = fresh ? 0 : hello.at().version() + 1;
    if (!fresh && !OnLog(hello.at())) {
      next = absl::OutOfRangeError(absl::StrCat("version ", hello.at().version(),
                                                " with this chain hash is not on the log"));
    } else if (*next < oldest) {
      next = absl::OutOfRangeError(absl::StrCat("the log begins at version ", oldest));
    }
    if (!next.ok() && pending_ == nullptr) history_->SnapshotForJoiner();
    std::shared_ptr<Subscriber>& slot = streams_[StreamKey(hello, stream.get())];
    if (slot != nullptr && slot != stream) {
      effects.Close(slot, absl::AbortedError("a newer stream of this worker took over"));
    }
    slot = std::move(stream);
  }
  effects.Run();
  return next;
}

absl::Status Coordinator::CaughtUp(const v1::Hello& who) {
  GRADWIRE_RETURN_IF_ERROR(CheckTakesPart(who));
  Effects effects;
  {
    MutexLock lock(&mu_);
    GRADWIRE_ASSIGN_OR_RETURN(WorkerEntry * worker,
                              membership_.Find(who.worker_id(), who.incarnation()));
    worker->last_heard = clock_->Now();
    worker->state = WorkerEntry::State::kReady;
    Advance(&effects);
  }
  effects.Run();
  return absl::OkStatus();
}

absl::Status Coordinator::Gradient(const v1::Hello& who, const v1::Gradient& message) {
  GRADWIRE_RETURN_IF_ERROR(CheckTakesPart(who));
  Effects effects;
  absl::Status status;
  {
    MutexLock lock(&mu_);
    status = GradientLocked(who, message, &effects);
  }
  effects.Run();
  return status;
}

absl::Status Coordinator::GradientLocked(const v1::Hello& who, const v1::Gradient& message,
                                         Effects* effects) {
  GRADWIRE_ASSIGN_OR_RETURN(WorkerEntry * worker,
                            membership_.Find(who.worker_id(), who.incarnation()));
  worker->last_heard = clock_->Now();
  GRADWIRE_ASSIGN_OR_RETURN(const bool counts, CheckStep(worker, message));
  if (!counts) return absl::OkStatus();
  if (Follows()) GRADWIRE_RETURN_IF_ERROR(TakeLead(*worker, message, effects));
  if (const std::string why = Divergence(message); !why.empty()) {
    return OrderResync(worker, why, effects);
  }
  if (IsAsync()) GRADWIRE_RETURN_IF_ERROR(CheckLead(*worker));
  const bool full = Full();
  const absl::StatusOr<Round::Added> added =
      IsAsync() ? async_.Add(worker->rank, worker->incarnation, message)
                : round_.Add(worker->rank, worker->incarnation, message);
  if (absl::IsNotFound(added.status())) {
    counters_->payloads_late.Add();
    return absl::OkStatus();
  }
  if (!added.ok()) {
    CountRefused(worker);
    Depart(worker, WorkerEntry::State::kLost, "its payload was refused", effects, added.status());
    Advance(effects);
    return added.status();
  }
  counters_->blocks_duplicate.Add(added->duplicates);
  for (const v1::BlockPayload& block : message.blocks()) {
    counters_->up_payload_bytes.Add(block.payload().size());
  }
  Advance(effects);
  // Even if it still is full: a worker whose own blocks no longer wait may now be read.
  if (full) WakeAll(effects);
  return absl::OkStatus();
}

absl::StatusOr<bool> Coordinator::CheckStep(WorkerEntry* worker, const v1::Gradient& message) {
  const uint64_t version = history_->replica().version();
  const uint64_t open = Running() ? round_.step() : version + 1;
  const bool late =
      IsAsync() ? async_.Answered(worker->rank, message.step()) : message.step() < open;
  if (late || !Running()) {
    if (message.step() > version) {
      return absl::InvalidArgumentError(absl::StrCat("worker \"", worker->id, "\": step ",
                                                     message.step(), ", but no step is open"));
    }
    if (message.has_end()) counters_->payloads_late.Add();
    return false;  // the updates tell it what became of the step
  }
  if (message.step() > open) {
    CountRefused(worker);
    return absl::InvalidArgumentError(absl::StrCat(
        "worker \"", worker->id, "\": step ", message.step(), " is beyond the open step ", open));
  }
  worker->step = std::max(worker->step, message.step());
  // One that is leased sent it before it read that it has to resync: once is enough.
  return worker->state != WorkerEntry::State::kLeased;
}

std::string Coordinator::Divergence(const v1::Gradient& message) const {
  const uint64_t base = message.step() - 1;
  v1::Point point;
  point.set_version(base);
  point.set_chain_hash(message.base_chain_hash());
  if (!OnLog(point)) {
    return absl::StrCat("the payload of step ", message.step(),
                        " was computed at another history's version ", base);
  }
  const uint64_t* hash = history_->comparable_hash(base);
  if (hash == nullptr || !message.end().has_replica_hash() ||
      message.end().replica_hash() == *hash) {
    return "";
  }
  return absl::StrCat("replica hash ", HashText(message.end().replica_hash()), " at version ", base,
                      ", the server's is ", HashText(*hash));
}

absl::Status Coordinator::OrderResync(WorkerEntry* worker, const std::string& why,
                                      Effects* effects) {
  LogWarning(absl::StrCat("worker \"", worker->id, "\": ", why, "; it has to start again from a ",
                          "snapshot"));
  worker->state = WorkerEntry::State::kLeased;
  worker->resyncs += 1;
  const bool again = worker->resyncs > 1;
  const absl::Status twice = absl::DataLossError(absl::StrCat(why, ", for the second time"));
  if (again) {
    Depart(worker, WorkerEntry::State::kLost, why, effects, twice);
  } else {
    DropFromRound(worker->rank, effects);
    if (IsAsync()) async_.Drop(worker->rank);  // FIXED, too
    if (IsFixed() && round_.Restart(worker->rank)) AskAllAgain(effects);
    v1::Control control;
    control.mutable_resync()->set_reason(why);
    // None when the stream ended before its last message was handled.
    const auto stream = streams_.find(worker->id);
    if (stream != streams_.end()) effects->Send(stream->second, std::move(control));
  }
  Advance(effects);
  return again ? twice : absl::OkStatus();
}

bool Coordinator::MayRead(const v1::Hello& who) {
  MutexLock lock(&mu_);
  if (!Full() || who.follower()) return true;
  const auto worker = membership_.Find(who.worker_id(), who.incarnation());
  return !worker.ok() || !round_.HasWaiting((*worker)->rank);
}

void Coordinator::StreamEnded(const v1::Hello& who, const Subscriber* stream) {
  MutexLock lock(&mu_);
  const auto found = streams_.find(StreamKey(who, stream));
  if (found == streams_.end() || found->second.get() != stream) return;  // an older one
  streams_.erase(found);
  if (who.follower()) return;
  const auto worker = membership_.Find(who.worker_id(), who.incarnation());
  if (!worker.ok()) return;
  (*worker)->connected = false;
  // One that was told to resync fetches a snapshot now: its heartbeats speak for it.
  (*worker)->broken = (*worker)->resyncs == 0 || (*worker)->state == WorkerEntry::State::kReady;
  (*worker)->broken_at = clock_->Now();
}

}  // namespace gradwire
