// SPDX-License-Identifier: Apache-2.0
// What Session does for a worker, without lease, payloads and residual.
#include "worker/client/observer.h"

#include <grpcpp/client_context.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/replica/point.h"
#include "common/rpc/limits.h"
#include "common/rpc/status.h"
#include "gradwire/v1/admin.grpc.pb.h"
#include "worker/client/client_stream.h"
#include "worker/client/server_stub.h"

namespace gradwire {
namespace {

constexpr absl::Duration kWait = absl::Milliseconds(100);  // until the stop flag is looked at
constexpr absl::Duration kSilence = absl::Seconds(10);     // after it the server is asked
constexpr uint32_t kMaxResyncs = 5;                        // without a record between them

// Of proto/README.md "Errors" those that time may mend.  CANCELLED, INTERNAL and UNKNOWN are what
// gRPC makes of a connection that was cut.
bool IsWorthARetry(const absl::Status& error) {
  switch (error.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
      return true;
    default:
      return false;
  }
}

}  // namespace

Observer::Observer(ObserverOptions options)
    : options_(std::move(options)),
      stub_(std::make_unique<ServerStub>(options_.server, options_.security)),
      patience_(options_.server, options_.give_up_after, options_.stop, stub_.get()) {}

Observer::~Observer() { CloseStream().IgnoreError(); }

absl::StatusOr<std::unique_ptr<Observer>> Observer::Connect(ObserverOptions options) {
  if (options.server.empty()) return absl::InvalidArgumentError("the server's address is empty");
  if (options.name.size() > kMaxTextBytes) options.name.resize(kMaxTextBytes);
  std::unique_ptr<Observer> observer(new Observer(std::move(options)));
  while (observer->job_ == nullptr) GRADWIRE_RETURN_IF_ERROR(observer->PumpOrRetry());
  return observer;
}

absl::StatusOr<bool> Observer::Next() {
  patience_.Pardon();  // the time since the last version was the caller's
  while (!moved_ && !Ended()) GRADWIRE_RETURN_IF_ERROR(PumpOrRetry());
  return std::exchange(moved_, false);
}

bool Observer::Ended() const { return replica().started() && replica().header().finished(); }

absl::Status Observer::PumpOrRetry() {
  if (options_.stop != nullptr && options_.stop->requested() != 0) {
    return absl::CancelledError("asked to stop");
  }
  const absl::Status status = Pump();
  return status.ok() ? status : Retry(status);
}

// One message, or one step on the way to a stream.
absl::Status Observer::Pump() {
  if (job_ == nullptr) return AskForJob();
  if (needs_snapshot_) return TakeSnapshot();
  if (stream_ == nullptr) OpenStream();
  v1::TrainResponse response;
  switch (stream_->Next(kWait, &response)) {
    case ClientStream::Read::kMessage:
      return Handle(std::move(response));
    case ClientStream::Read::kTimeout:
      // A job may wait for its workers for long: only a server that does not answer is gone.
      return patience_.silence() < kSilence ? absl::OkStatus() : AskForJob();
    case ClientStream::Read::kEnded:
      break;
  }
  const absl::Status status = CloseStream();
  return status.ok() ? absl::UnavailableError("it closed the stream") : status;
}

// Ok: waited, try again.
absl::Status Observer::Retry(const absl::Status& error) {
  CloseStream().IgnoreError();
  if (stopped_) {
    return patience_.Final(
        {error.code(),
         absl::StrCat("the job has ended, but its last updates, after version ",
                      replica().version(), ", cannot be read any more: ", error.message())});
  }
  return IsWorthARetry(error) ? patience_.WaitAfter(error) : patience_.Final(error);
}

// Later again, to hear whether the server lives.  That it still has the same job is what Hello
// asks.
absl::Status Observer::AskForJob() {
  const auto stub = v1::Admin::NewStub(stub_->channel());
  grpc::ClientContext context;
  stub_->Authorize(&context);
  context.set_deadline(absl::ToChronoTime(absl::Now() + kCallDeadline));
  v1::GetStatusResponse status;
  GRADWIRE_RETURN_IF_ERROR(FromGrpc(stub->GetStatus(&context, v1::GetStatusRequest(), &status)));
  patience_.Heard();
  if (job_ != nullptr) return absl::OkStatus();
  if (status.has_shard()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "it is one of ", status.shard().count(), " shards, and following reads a job with one ",
        "server only: export the model of all shards (gradwire export)"));
  }
  GRADWIRE_ASSIGN_OR_RETURN(std::shared_ptr<const Job> job,
                            MakeJob(std::move(*status.mutable_job())));
  if (options_.schema_hash != 0 && options_.schema_hash != job->schema_hash) {
    return absl::FailedPreconditionError(
        absl::StrCat("its job \"", job->config.name(), "\" has here the schema ",
                     HashText(job->schema_hash), ", expected was ", HashText(options_.schema_hash),
                     ": model, codec, optimizer or seed differ"));
  }
  job_ = std::move(job);
  follower_ = std::make_unique<Follower>(job_);
  LogInfo(absl::StrCat("following job \"", job_->config.name(), "\" at ", options_.server));
  return absl::OkStatus();
}

// The newest.  Where there is none, the log reaches back to the seed.
absl::Status Observer::TakeSnapshot() {
  absl::StatusOr<Replica::Contents> contents =
      stub_->GetModel(*job_, 0, options_.give_up_after, options_.stop);
  if (absl::IsNotFound(contents.status())) {
    follower_->Restart();
  } else {
    GRADWIRE_RETURN_IF_ERROR(contents.status());
    GRADWIRE_RETURN_IF_ERROR(follower_->Load(*std::move(contents)));
    moved_ = true;
  }
  patience_.Heard();
  needs_snapshot_ = false;
  return absl::OkStatus();
}

void Observer::OpenStream() {
  follower_->DropOpenRecord();
  stream_ = std::make_shared<ClientStream>(
      stub_->channel(), [this](grpc::ClientContext* context) { stub_->Authorize(context); });
  const auto request = std::make_shared<v1::TrainRequest>();
  v1::Hello* const hello = request->mutable_hello();
  hello->set_worker_id(options_.name);
  hello->set_follower(true);
  hello->set_schema_hash(job_->schema_hash);
  if (replica().started()) *hello->mutable_at() = PointAt(replica());
  stream_->Send(request);  // when that fails, the stream has ended: Pump meets it
}

// What the stream ended with; Ok without one.
absl::Status Observer::CloseStream() {
  if (stream_ == nullptr) return absl::OkStatus();
  const absl::Status status = stream_->Close();
  stream_.reset();
  return status;
}

absl::Status Observer::Handle(v1::TrainResponse response) {
  patience_.Heard();
  if (response.has_update_part()) {
    GRADWIRE_ASSIGN_OR_RETURN(const bool applied,
                              follower_->Take(std::move(*response.mutable_update_part())));
    moved_ = moved_ || applied;
    if (applied) resyncs_ = 0;
    return absl::OkStatus();
  }
  if (response.control().has_resync()) return Resync(response.control().resync().reason());
  if (response.control().has_stop()) {
    // Not read to the end: the final snapshot has what is missing, if the server is still there.
    stopped_ = true;
    return Resync(response.control().stop().reason());
  }
  return absl::OkStatus();  // a resend is for members
}

absl::Status Observer::Resync(const std::string& reason) {
  LogInfo(absl::StrCat("starts from the newest snapshot: ", reason));
  CloseStream().IgnoreError();
  if (++resyncs_ > kMaxResyncs) {
    return absl::DataLossError(absl::StrCat("it asked for a resync ", resyncs_,
                                            " times without an update between them: ", reason));
  }
  needs_snapshot_ = true;
  return absl::OkStatus();
}

}  // namespace gradwire
