// SPDX-License-Identifier: Apache-2.0
// What a session does while it is connected, and how it reacts to errors.
#include "worker/client/session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/replica/point.h"
#include "common/rpc/limits.h"
#include "worker/client/client_stream.h"
#include "worker/client/heartbeat.h"
#include "worker/client/server_stub.h"

namespace gradwire {
namespace {

constexpr absl::Duration kWait = absl::Milliseconds(100);  // until the stop flag is looked at
constexpr absl::Duration kLeaveTries = absl::Seconds(30);
constexpr absl::Duration kSettle = absl::Seconds(2);   // for the open step to end
constexpr absl::Duration kGoodbye = absl::Seconds(1);  // for the server to end the stream
// The server takes a moment to see that this id's earlier process was killed.
constexpr absl::Duration kHolderGoes = absl::Seconds(5);
constexpr uint32_t kMaxResyncs = 5;  // without a record between them

enum class Reaction { kRetry, kJoinAgain, kGiveUp };

// proto/README.md "Errors".  CANCELLED, INTERNAL and UNKNOWN are what gRPC makes of a
// connection that was cut.
Reaction ReactionTo(const absl::Status& error) {
  switch (error.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
      return Reaction::kRetry;
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kNotFound:  // the server is a new one
      return Reaction::kJoinAgain;
    default:
      return Reaction::kGiveUp;
  }
}

absl::Duration Now() { return SteadyClock().Now(); }

}  // namespace

absl::StatusOr<std::unique_ptr<Session>> Session::Make(SessionOptions options) {
  if (options.server.empty()) return absl::InvalidArgumentError("the server's address is empty");
  if (options.worker_id.empty() || options.worker_id.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the worker id has ", options.worker_id.size(),
                                                   " bytes, allowed are 1 to ", kMaxTextBytes));
  }
  if (options.state_every == 0) {
    return absl::InvalidArgumentError("--state_every is 0: it is at least 1, in versions");
  }
  if (options.build.size() > kMaxTextBytes) options.build.resize(kMaxTextBytes);
  std::unique_ptr<Session> session(new Session(std::move(options)));
  GRADWIRE_RETURN_IF_ERROR(session->OpenStore());
  return session;
}

absl::StatusOr<std::unique_ptr<Session>> Session::Connect(SessionOptions options) {
  GRADWIRE_ASSIGN_OR_RETURN(std::unique_ptr<Session> session, Make(std::move(options)));
  while (!session->joined_) {
    GRADWIRE_RETURN_IF_ERROR(session->PumpOrRetry(kWait).status());
  }
  return session;
}

absl::Status Session::Push(absl::Span<float> gradient, const StepReport& report) {
  pushed_ = false;
  if (ahead_at_.has_value()) {
    GRADWIRE_ASSIGN_OR_RETURN(const bool counts, AwaitUpdateBefore());
    return counts ? Encode(gradient, report) : absl::OkStatus();
  }
  if (finished_ || !TurnIsDue()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no turn to compute step ", version() + 1, " is open: call NextTurn first"));
  }
  if (HasLag()) SayWithoutLag();
  return Encode(gradient, report);
}

// The payload of the step that is open at the replica's version.
absl::Status Session::Encode(absl::Span<float> gradient, const StepReport& report) {
  const Replica& replica = follower_->replica();
  OpenStep open = {.step = version() + 1,
                   .learning_rate = opening().next_learning_rate(),
                   .flush = opening().next_flush(),
                   .members = static_cast<uint32_t>(opening().members_size()),
                   .rank = Named()->rank(),
                   .bases = replica.bases(),
                   .base_chain_hash = replica.chain_hash()};
  if (options_.shard.follows()) open.lead_header = lead_bytes_;
  if (recovered_) open.same_bits_from = line_incarnation_;
  if (ReplicaHashDue(*job_, open.step)) open.replica_hash = replica.Hash();
  GRADWIRE_RETURN_IF_ERROR(uplink_->Encode(open, gradient, report));
  pushed_ = true;
  if (uplink_->abstained()) {
    LogWarning(absl::StrCat("abstains from step ", open.step, ": ", uplink_->abstain_reason()));
  }
  heartbeat_->Progress(open.step);
  if (MaySend()) {
    SendHeld();
  } else {
    ++replayed_;
  }
  return absl::OkStatus();
}

absl::Status Session::Leave(absl::string_view reason,
                            const std::optional<v1::Evaluation>& evaluation) {
  SettleHeld();
  SaveAtEnd();
  v1::LeaveRequest request;
  request.set_worker_id(options_.worker_id);
  request.set_incarnation(self_.incarnation);
  request.set_reason(std::string(reason.substr(0, kMaxTextBytes)));
  *request.mutable_at() = PointAt(follower_->replica());
  request.set_parameters_hash(ParametersHash());
  if (evaluation.has_value()) *request.mutable_evaluation() = *evaluation;
  if (finished_) request.set_lead_header(lead_bytes_);
  // Who goes before the end goes at once; at the end the server's hash is worth waiting for.
  const absl::Duration tries =
      finished_ ? std::min(kLeaveTries, options_.give_up_after) : absl::ZeroDuration();
  const absl::Duration end = Now() + tries;
  absl::Status status = LeaveOnce(request);
  while (ReactionTo(status) == Reaction::kRetry && Now() < end) {
    stub_->WaitToRetry(patience_.NextDelay(), StopFlag());
    status = LeaveOnce(request);
  }
  v1::TrainResponse ignored;
  const absl::Duration goodbye = Now() + kGoodbye;
  while (status.ok() && stream_ != nullptr && Now() < goodbye) {
    if (stream_->Next(kWait, &ignored) == ClientStream::Read::kEnded) break;
  }
  CloseStream().IgnoreError();
  heartbeat_.reset();
  joined_ = false;
  left_ = true;
  if (!finished_ || ReactionTo(status) == Reaction::kGiveUp) return status;
  LogWarning(absl::StrCat("the job has ended, but the server cannot be told: ", status.message()));
  return absl::OkStatus();
}

// SYNC: a member that leaves an open step makes all others send theirs again.
void Session::SettleHeld() {
  const absl::Duration end = Now() + kSettle;
  while (stream_ != nullptr && !finished_ && uplink_->held_step() != 0 && Now() < end) {
    if (!Pump(kWait).ok()) return;
  }
}

absl::Status Session::LeaveOnce(const v1::LeaveRequest& request) {
  const absl::StatusOr<v1::LeaveResponse> response = stub_->Leave(request);
  if (!response.ok()) {
    return {response.status().code(), absl::StrCat("leaving the server at ", options_.server, ": ",
                                                   response.status().message())};
  }
  const uint64_t theirs = response->parameters_hash();
  if (!finished_ || theirs == 0 || theirs == request.parameters_hash()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("at version ", version(), " this worker's parameters are ",
                   HashText(request.parameters_hash()), ", the server's at ", options_.server,
                   " are ", HashText(theirs), ": keep the logs of both, and compare their builds"));
}

// One message or one step on the way to a stream.  True: a message was handled.
absl::StatusOr<bool> Session::Pump(absl::Duration wait) {
  if (!joined_) {
    GRADWIRE_RETURN_IF_ERROR(JoinOnce());
    return true;
  }
  if (needs_replica_) {
    GRADWIRE_RETURN_IF_ERROR(MakeReplica());
    return true;  // before any record is read: a turn may be due at this very version
  }
  if (finished_) return false;
  if (stream_ == nullptr) GRADWIRE_RETURN_IF_ERROR(OpenStream());
  heartbeat_->Progress(version() + 1);
  if (AtLimit()) return false;
  v1::TrainResponse response;
  switch (stream_->Next(wait, &response)) {
    case ClientStream::Read::kMessage:
      GRADWIRE_RETURN_IF_ERROR(Handle(std::move(response)));
      return true;
    case ClientStream::Read::kTimeout:
      GRADWIRE_RETURN_IF_ERROR(CheckHeard());
      return false;
    case ClientStream::Read::kEnded:
      break;
  }
  const absl::Status status = CloseStream();
  return status.ok() ? absl::UnavailableError("it closed the stream") : status;
}

absl::Status Session::CheckStop() const {
  if (options_.stop == nullptr || options_.stop->requested() == 0) return absl::OkStatus();
  return absl::CancelledError("asked to stop");
}

absl::StatusOr<bool> Session::PumpOrRetry(absl::Duration wait) {
  GRADWIRE_RETURN_IF_ERROR(CheckStop());
  absl::StatusOr<bool> handled = Pump(wait);
  if (handled.ok()) return handled;
  GRADWIRE_RETURN_IF_ERROR(Retry(handled.status()));
  return false;
}

// Ok: waited, try again.
absl::Status Session::Retry(const absl::Status& error) {
  CloseStream().IgnoreError();
  const Reaction reaction = ReactionTo(error);
  if (absl::IsAlreadyExists(error)) id_held_since_ = std::min(id_held_since_, Now());
  const bool holder_may_go = absl::IsAlreadyExists(error) && Now() - id_held_since_ < kHolderGoes;
  if (reaction == Reaction::kGiveUp && !holder_may_go) {
    return patience_.Final(error);
  }
  if (reaction == Reaction::kJoinAgain) {
    Rejoin();
  } else if (joined_ && !IsCaughtUp()) {
    JoinAnew();  // a server that came back may not have all that it promised
  }
  return patience_.WaitAfter(error);
}

absl::Status Session::Handle(v1::TrainResponse response) {
  patience_.Heard();
  down_wire_bytes_ += response.ByteSizeLong() + kFrameHeaderBytes;
  if (response.has_update_part()) return TakeUpdatePart(std::move(*response.mutable_update_part()));
  const v1::Control& control = response.control();
  if (control.has_resend() && control.resend().step() == uplink_->held_step() && MaySend()) {
    SendHeld();
  }
  if (control.has_resync()) return Resync(control.resync().reason());
  if (control.has_stop()) {
    stopped_ = true;
    return absl::FailedPreconditionError(
        absl::StrCat("it stopped the job at version ", version(), ": ", control.stop().reason()));
  }
  return absl::OkStatus();
}

absl::Status Session::TakeUpdatePart(std::string part) {
  const std::optional<MemberKey> place = Place();
  GRADWIRE_ASSIGN_OR_RETURN(const bool applied, follower_->Take(std::move(part)));
  if (!applied) return absl::OkStatus();
  place_before_ = place;
  if (stream_ != nullptr) stream_->FinishSending();  // of a payload that is resolved now
  GRADWIRE_RETURN_IF_ERROR(uplink_->Resolve(version(), header()));
  resyncs_ = 0;
  finished_ = header().finished();
  if (IsAsync() && uplink_->held_step() != 0 && MaySend() && !uplink_->SentAs(self_)) {
    GRADWIRE_RETURN_IF_ERROR(uplink_->Withdraw());
  }
  SettleResidual();
  SaveWhenDue();
  if (!caught_up_sent_ && IsCaughtUp()) SendCaughtUp();
  return absl::OkStatus();
}

absl::Status Session::Resync(const std::string& reason) {
  LogWarning(absl::StrCat("resync at version ", version(), ": ", reason));
  CloseStream().IgnoreError();
  if (++resyncs_ > kMaxResyncs) {
    return absl::DataLossError(absl::StrCat("it asked for a resync ", resyncs_,
                                            " times without an update between them: ", reason));
  }
  JoinAnew();
  in_line_ = false;
  out_of_line_ = true;
  needs_replica_ = true;
  return absl::OkStatus();
}

// A server whose connection lives but that no longer answers heartbeats is gone, too.
absl::Status Session::CheckHeard() {
  if (heartbeat_->last_answer() > patience_.heard_at()) patience_.Heard();
  if (patience_.silence() < options_.give_up_after) return absl::OkStatus();
  return absl::DeadlineExceededError("connected, but it answers no heartbeat");
}

// The log may begin after the record that says "finished": then the snapshot was the end.
void Session::FinishIfOver() {
  const Replica& replica = follower_->replica();
  if (!replica.started()) return;
  if (header().finished() || (job_over_ && version() >= promised_.version())) finished_ = true;
}

bool Session::IsCaughtUp() const {
  if (promised_.chain_hash().empty()) return true;  // there was nothing yet
  const Replica& replica = follower_->replica();
  return replica.started() && replica.version() >= promised_.version();
}

const v1::Member* Session::Named() const {
  const auto& members = opening().members();
  const auto found = std::find_if(members.begin(), members.end(), [this](const v1::Member& member) {
    return member.id() == options_.worker_id;
  });
  return found == members.end() ? nullptr : &*found;
}

bool Session::MaySend() const {
  const v1::Member* const named = Named();
  if (!joined_ || !in_line_ || named == nullptr || !IsCaughtUp()) return false;
  const bool any_incarnation = IsFixed() && !IsAsync();
  return named->rank() == self_.rank &&
         (any_incarnation || named->incarnation() == self_.incarnation);
}

void Session::CountSent(const v1::TrainRequest& request) {
  up_wire_bytes_ += request.ByteSizeLong() + kFrameHeaderBytes;
  for (const v1::BlockPayload& block : request.gradient().blocks()) {
    up_payload_bytes_ += block.payload().size();
  }
}

bool Session::Send(const std::shared_ptr<const v1::TrainRequest>& request) {
  if (stream_ == nullptr) return false;
  CountSent(*request);
  stream_->FinishSending();
  return stream_->Send(request);
}

// A failed send is not reported: the stream has ended, and Pump meets that next.
void Session::SendCaughtUp() {
  const auto request = std::make_shared<v1::TrainRequest>();
  *request->mutable_caught_up()->mutable_at() = PointAt(follower_->replica());
  Send(request);
  caught_up_sent_ = true;
}

void Session::SendHeld() {
  if (HasLag() && stream_ != nullptr) {
    for (const v1::TrainRequest& message : uplink_->Messages(self_)) CountSent(message);
    return stream_->SendBehind(uplink_->held());
  }
  const auto owner = uplink_->held();
  for (const v1::TrainRequest& message : uplink_->Messages(self_)) {
    if (!Send(std::shared_ptr<const v1::TrainRequest>(owner, &message))) return;
  }
}

SessionTraffic Session::traffic() const {
  return {.up_payload_bytes = up_payload_bytes_,
          .up_wire_bytes = up_wire_bytes_,
          .down_payload_bytes = follower_->payload_bytes(),
          .down_wire_bytes = down_wire_bytes_};
}

}  // namespace gradwire
