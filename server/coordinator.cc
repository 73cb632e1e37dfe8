// SPDX-License-Identifier: Apache-2.0
// What the coordinator answers to workers: leases, streams and payloads.
#include "server/coordinator.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
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

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Create(CoordinatorOptions options,
                                                                 std::shared_ptr<const Job> job,
                                                                 const Clock* clock,
                                                                 ServerCounters* counters) {
  GRADWIRE_ASSIGN_OR_RETURN(std::unique_ptr<History> history,
                            History::Create(job, options.state_dir, options.max_log_bytes));
  return std::unique_ptr<Coordinator>(
      new Coordinator(std::move(options), std::move(job), std::move(history), clock, counters));
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
      membership_(job_->config.membership()),
      round_(job_),
      update_maker_(job_),
      reset_rule_(job_),
      on_demand_(job_),
      learning_rate_(job_->optimizer->learning_rate(), job_->schedule),
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
  bool replaced = false;
  const auto before = membership_.workers().find(request.worker_id());
  const uint32_t old_rank = before == membership_.workers().end() ? 0 : before->second.rank;
  GRADWIRE_ASSIGN_OR_RETURN(
      WorkerEntry * worker,
      membership_.Join(request.worker_id(), request.session(), peer, clock_->Now(), &replaced));
  if (replaced) {
    DropFromRound(old_rank, effects);
    Advance(effects);
  }
  LogInfo(absl::StrCat("worker \"", worker->id, "\" joined from ", peer, " as rank ", worker->rank,
                       ", incarnation ", worker->incarnation, request.build().empty() ? "" : ", ",
                       request.build()));
  v1::JoinResponse response;
  response.set_rank(worker->rank);
  response.set_incarnation(worker->incarnation);
  response.set_lease_seconds(job_->config.membership().lease_seconds());
  *response.mutable_job() = job_->config;
  response.set_schema_hash(job_->schema_hash);
  response.set_apply_revision(kApplyRevision);
  *response.mutable_newest() = NewestPoint();
  response.set_oldest_version(log_.range().oldest);
  response.set_finished(phase_ == Phase::kFinishing || phase_ == Phase::kFinished);
  return response;
}

v1::Point Coordinator::NewestPoint() const {
  v1::Point point;
  const Replica& replica = history_->replica();
  if (!replica.started()) return point;
  point.set_version(replica.version());
  point.set_chain_hash(std::string(AsView(replica.chain_hash())));
  return point;
}

absl::Status Coordinator::Heartbeat(const v1::HeartbeatRequest& request) {
  MutexLock lock(&mu_);
  GRADWIRE_ASSIGN_OR_RETURN(WorkerEntry * worker,
                            membership_.Find(request.worker_id(), request.incarnation()));
  worker->last_heard = clock_->Now();
  worker->step = std::max(worker->step, request.step());
  return absl::OkStatus();
}

absl::StatusOr<v1::LeaveResponse> Coordinator::Leave(const v1::LeaveRequest& request) {
  GRADWIRE_RETURN_IF_ERROR(CheckText("reason", request.reason(), false));
  Effects effects;
  v1::LeaveResponse response;
  {
    MutexLock lock(&mu_);
    GRADWIRE_ASSIGN_OR_RETURN(WorkerEntry * worker,
                              membership_.Find(request.worker_id(), request.incarnation()));
    if (phase_ == Phase::kFinishing || phase_ == Phase::kFinished) {
      const uint64_t hash = history_->replica().ParametersHash();
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
    GRADWIRE_ASSIGN_OR_RETURN(WorkerEntry * worker,
                              membership_.Find(hello.worker_id(), hello.incarnation()));
    const bool fresh = hello.at().chain_hash().empty();
    const UpdateLog::Range range = log_.range();
    if (fresh) {
      if (!range.empty && range.oldest > 0) {
        next = absl::OutOfRangeError(absl::StrCat("the log begins at version ", range.oldest));
      }
    } else {
      const std::shared_ptr<const Record> record = log_.Find(hello.at().version());
      if (record == nullptr || AsView(record->chain_hash) != hello.at().chain_hash()) {
        next = absl::OutOfRangeError(absl::StrCat("version ", hello.at().version(),
                                                  " with this chain hash is not on the log"));
      } else {
        next = record->version + 1;
      }
    }
    std::shared_ptr<Subscriber>& slot = streams_[worker->id];
    if (slot != nullptr && slot != stream) {
      effects.Close(slot, absl::AbortedError("a newer stream of this worker took over"));
    }
    slot = std::move(stream);
    worker->connected = true;
    worker->broken = false;
    worker->last_heard = clock_->Now();
  }
  effects.Run();
  return next;
}

absl::Status Coordinator::CaughtUp(const v1::Hello& who) {
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
  const uint64_t version = history_->replica().version();
  const uint64_t open = Running() ? round_.step() : version + 1;
  if (message.step() < open || !Running()) {
    if (message.step() > version) {
      return absl::InvalidArgumentError(absl::StrCat("worker \"", who.worker_id(), "\": step ",
                                                     message.step(), ", but no step is open"));
    }
    if (message.has_end()) counters_->payloads_late.Add();
    return absl::OkStatus();  // the updates tell it what became of the step
  }
  if (message.step() > open) {
    counters_->payloads_refused.Add();
    return absl::InvalidArgumentError(absl::StrCat("worker \"", who.worker_id(), "\": step ",
                                                   message.step(), " is beyond the open step ",
                                                   open));
  }
  worker->step = std::max(worker->step, message.step());
  if (worker->state == WorkerEntry::State::kLeased) {
    return absl::OkStatus();  // sent before it read that it has to resync: once is enough
  }
  if (const std::string why = Divergence(message); !why.empty()) {
    return OrderResync(worker, why, effects);
  }
  const bool full = Full();
  const absl::StatusOr<Round::Added> added = round_.Add(worker->rank, worker->incarnation, message);
  if (absl::IsNotFound(added.status())) {
    counters_->payloads_late.Add();
    return absl::OkStatus();
  }
  if (!added.ok()) {
    counters_->payloads_refused.Add();
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

std::string Coordinator::Divergence(const v1::Gradient& message) const {
  const Replica& replica = history_->replica();
  if (message.base_chain_hash() != AsView(replica.chain_hash())) {
    return absl::StrCat("the payload of step ", message.step(),
                        " was computed at another history's version ", replica.version());
  }
  const uint64_t* hash = history_->comparable_hash();
  if (hash == nullptr || !message.end().has_replica_hash() ||
      message.end().replica_hash() == *hash) {
    return "";
  }
  return absl::StrCat("replica hash ", HashText(message.end().replica_hash()), " at version ",
                      replica.version(), ", the server's is ", HashText(*hash));
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
  if (!Full()) return true;
  const auto worker = membership_.Find(who.worker_id(), who.incarnation());
  return !worker.ok() || !round_.HasWaiting((*worker)->rank);
}

void Coordinator::StreamEnded(const v1::Hello& who, const Subscriber* stream) {
  MutexLock lock(&mu_);
  const auto found = streams_.find(who.worker_id());
  if (found == streams_.end() || found->second.get() != stream) return;  // an older one
  streams_.erase(found);
  const auto worker = membership_.Find(who.worker_id(), who.incarnation());
  if (!worker.ok()) return;
  (*worker)->connected = false;
  // One that was told to resync fetches a snapshot now: its heartbeats speak for it.
  (*worker)->broken = (*worker)->resyncs == 0 || (*worker)->state == WorkerEntry::State::kReady;
  (*worker)->broken_at = clock_->Now();
}

}  // namespace gradwire
