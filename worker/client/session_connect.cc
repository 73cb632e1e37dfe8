// SPDX-License-Identifier: Apache-2.0
// How a session comes, or comes back, to an open stream: Join, snapshot, Hello.
#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/replica/point.h"
#include "common/replica/settings.h"
#include "worker/client/client_stream.h"
#include "worker/client/heartbeat.h"
#include "worker/client/server_stub.h"
#include "worker/client/session.h"

namespace gradwire {
namespace {

constexpr double kDefaultLeaseSeconds = 10;
constexpr double kMaxLeaseSeconds = 24 * 3600;

uint64_t RandomNumber() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

absl::Duration LeaseOf(const v1::JoinResponse& response) {
  const double seconds = response.lease_seconds();
  const bool sane = seconds > 0 && seconds <= kMaxLeaseSeconds;
  return absl::Seconds(sane ? seconds : kDefaultLeaseSeconds);
}

}  // namespace

Session::Session(SessionOptions options)
    : options_(std::move(options)),
      stub_(std::make_unique<ServerStub>(options_.server, options_.security)),
      patience_(options_.server, options_.give_up_after, options_.stop, stub_.get()),
      session_id_(RandomNumber()) {}

Session::~Session() { CloseStream().IgnoreError(); }

absl::Status Session::JoinOnce() {
  v1::JoinRequest request;
  request.set_worker_id(options_.worker_id);
  request.set_session(session_id_);
  request.set_apply_revision(kApplyRevision);
  request.set_schema_hash(job_ != nullptr ? job_->schema_hash : options_.schema_hash);
  request.set_build(options_.build);
  AddSavedPoints(&request);
  AddShard(&request);
  GRADWIRE_ASSIGN_OR_RETURN(const v1::JoinResponse response, stub_->Join(request));
  GRADWIRE_RETURN_IF_ERROR(CheckShard(response));
  if (job_ == nullptr) {
    GRADWIRE_RETURN_IF_ERROR(TakeJob(response));
  } else if (const std::string difference = IdentityDifference(job_->config, response.job());
             !difference.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "its job \"", response.job().name(), "\" is no longer the one this worker began with (",
        difference, "): start the worker anew"));
  }
  return TakeLease(response);
}

// The first Join's.  Both sides must have made the same job of the same configuration.
absl::Status Session::TakeJob(const v1::JoinResponse& response) {
  if (response.apply_revision() != kApplyRevision) {
    return absl::FailedPreconditionError(
        absl::StrCat("it applies updates by revision ", response.apply_revision(),
                     ", this worker by ", kApplyRevision, ": run one build everywhere"));
  }
  GRADWIRE_ASSIGN_OR_RETURN(std::shared_ptr<const Job> job,
                            MakeJob(response.job(), options_.shard));
  for (const uint64_t expected : {response.schema_hash(), options_.schema_hash}) {
    if (expected == 0 || expected == job->schema_hash) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("its job \"", response.job().name(), "\" has here the schema ",
                     HashText(job->schema_hash), ", expected was ", HashText(expected),
                     ": model, codec, optimizer or seed differ, or the builds do"));
  }
  if (store_ != nullptr) GRADWIRE_RETURN_IF_ERROR(store_->CheckSchema(job->schema_hash));
  if (options_.admit) GRADWIRE_RETURN_IF_ERROR(options_.admit(*job));
  job_ = std::move(job);
  follower_ = std::make_unique<Follower>(
      job_, options_.home != nullptr ? options_.home(*job_) : absl::Span<float>());
  uplink_ = std::make_unique<Uplink>(job_);
  return absl::OkStatus();
}

absl::Status Session::TakeLease(const v1::JoinResponse& response) {
  self_ = {response.rank(), response.incarnation()};
  promised_ = response.newest();
  // Of several shards, the others may still need the last step: the record that ends the job tells.
  job_over_ = response.finished() && options_.shard.alone();
  // After a server lost its newest records, it may count from lower ones again.
  line_incarnation_ = std::min(line_incarnation_, self_.incarnation);
  heartbeat_ = std::make_unique<Heartbeat>(
      Heartbeat::Options{.worker_id = options_.worker_id,
                         .incarnation = self_.incarnation,
                         .lease = LeaseOf(response),
                         .patience = options_.give_up_after,
                         .saved_version = KeepsState() ? store_->oldest_version() : std::nullopt},
      stub_.get());
  PlanReplica(response);
  joined_ = true;
  LogInfo(absl::StrCat("joined job \"", job_->config.name(), "\" at ", options_.server,
                       " as worker \"", options_.worker_id, "\", rank ", self_.rank,
                       ", incarnation ", self_.incarnation));
  FinishIfOver();
  return absl::OkStatus();
}

// The newest snapshot at or below the version (0: of all).  False: there is none.
absl::StatusOr<bool> Session::TakeSnapshot(uint64_t at_version) {
  absl::StatusOr<Replica::Contents> contents =
      stub_->GetModel(*job_, at_version, options_.give_up_after, options_.stop);
  if (absl::IsNotFound(contents.status())) return false;
  GRADWIRE_RETURN_IF_ERROR(contents.status());
  GRADWIRE_RETURN_IF_ERROR(follower_->Load(*std::move(contents)));
  return true;
}

absl::Status Session::OpenStream() {
  follower_->DropOpenRecord();
  caught_up_sent_ = false;
  // With lag, a whole record may arrive while a gradient is computed.
  const size_t read_ahead = HasLag() ? job_->layout.blocks() + 1 : ClientStream::kReadAhead;
  stream_ = std::make_shared<ClientStream>(
      stub_->channel(), [this](grpc::ClientContext* context) { stub_->Authorize(context); },
      read_ahead);
  heartbeat_->Watch(stream_);
  ++streams_opened_;
  const auto request = std::make_shared<v1::TrainRequest>();
  request->mutable_hello()->set_worker_id(options_.worker_id);
  request->mutable_hello()->set_incarnation(self_.incarnation);
  request->mutable_hello()->set_session(session_id_);
  *request->mutable_hello()->mutable_at() = PointAt(follower_->replica());
  Send(request);
  if (IsCaughtUp()) SendCaughtUp();
  if (MaySend() && uplink_->held_step() != 0) SendHeld();
  return absl::OkStatus();
}

// What the stream ended with; Ok without one.
absl::Status Session::CloseStream() {
  if (stream_ == nullptr) return absl::OkStatus();
  const absl::Status status = stream_->Close();
  stream_.reset();
  return status;
}

// The lease is gone: the next Join asks for a new incarnation.
void Session::Rejoin() {
  JoinAnew();
  session_id_ = RandomNumber();
}

// As the same session: the answer says where the server's log stands now.
void Session::JoinAnew() {
  joined_ = false;
  heartbeat_.reset();
}

}  // namespace gradwire
