// SPDX-License-Identifier: Apache-2.0
// Reading ahead is bounded: a full queue stops the reads, and gRPC's window then
// stops the server.
#include "worker/client/client_stream.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/codegen/rpc_method.h>

#include <utility>

#include "common/base/clock.h"
#include "common/rpc/status.h"
#include "worker/client/request_buffer.h"

namespace gradwire {

namespace {

constexpr char kTrainMethod[] = "/gradwire.v1.ParameterServer/Train";

grpc::ClientContext* Authorized(const std::function<void(grpc::ClientContext*)>& authorize,
                                grpc::ClientContext* context) {
  if (authorize) authorize(context);
  return context;
}

}  // namespace

// What the generated stub does, but for the type that is written.
ClientStream::ClientStream(std::shared_ptr<grpc::ChannelInterface> channel,
                           const std::function<void(grpc::ClientContext*)>& authorize,
                           size_t read_ahead)
    : read_ahead_(read_ahead),
      channel_(std::move(channel)),
      stream_(
          grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, v1::TrainResponse>::Create(
              channel_.get(),
              grpc::internal::RpcMethod(kTrainMethod, grpc::internal::RpcMethod::BIDI_STREAMING),
              Authorized(authorize, &context_))),
      reader_([this] { ReadAhead(); }) {}

ClientStream::~ClientStream() { Close().IgnoreError(); }

bool ClientStream::Send(const std::shared_ptr<const v1::TrainRequest>& request) {
  {
    MutexLock lock(&mu_);
    if (ended_ || closing_) return false;
    sending_ = true;
    send_start_ = SteadyClock().Now();
  }
  const bool sent = stream_->Write(RequestBuffer(request));
  MutexLock lock(&mu_);
  sending_ = false;
  return sent;
}

void ClientStream::SendBehind(Requests requests) {
  FinishSending();
  {
    MutexLock lock(&mu_);
    behind_ = std::move(requests);
    changed_.NotifyAll();
  }
  if (!sender_.joinable()) sender_ = std::thread([this] { SendWhatComes(); });
}

void ClientStream::FinishSending() {
  MutexLock lock(&mu_);
  while (behind_ != nullptr) changed_.Wait(&mu_);
}

void ClientStream::SendWhatComes() {
  while (true) {
    Requests requests;
    {
      MutexLock lock(&mu_);
      while (behind_ == nullptr && !closing_) changed_.Wait(&mu_);
      if (behind_ == nullptr) return;
      requests = behind_;
    }
    for (const v1::TrainRequest& request : *requests) {
      if (!Send(std::shared_ptr<const v1::TrainRequest>(requests, &request))) break;
    }
    MutexLock lock(&mu_);
    behind_ = nullptr;
    changed_.NotifyAll();
  }
}

ClientStream::Read ClientStream::Next(absl::Duration timeout, v1::TrainResponse* response) {
  const SteadyClock clock;
  const absl::Duration end = clock.Now() + timeout;
  MutexLock lock(&mu_);
  while (waiting_.empty() && !ended_) {
    const absl::Duration left = end - clock.Now();
    if (left <= absl::ZeroDuration()) return Read::kTimeout;
    changed_.WaitFor(&mu_, left);
  }
  if (waiting_.empty()) return Read::kEnded;
  *response = std::move(waiting_.front());
  waiting_.pop_front();
  changed_.NotifyAll();
  return Read::kMessage;
}

bool ClientStream::HasRoomOrClosing() const { return closing_ || waiting_.size() < read_ahead_; }

void ClientStream::ReadAhead() {
  v1::TrainResponse response;
  bool more = true;
  while (more) {
    more = stream_->Read(&response);
    MutexLock lock(&mu_);
    if (more) waiting_.push_back(std::move(response));
    ended_ = !more;
    changed_.NotifyAll();
    while (more && !HasRoomOrClosing()) changed_.Wait(&mu_);
    more = more && !closing_;
  }
}

absl::Status ClientStream::Close() {
  if (closed_) return final_;
  {
    MutexLock lock(&mu_);
    closing_ = true;
    // A stream that the server has ended keeps the server's status only if it is not cancelled.
    if (!ended_) context_.TryCancel();
    changed_.NotifyAll();
  }
  reader_.join();
  if (sender_.joinable()) sender_.join();
  final_ = FromGrpc(stream_->Finish());
  closed_ = true;
  return final_;
}

void ClientStream::CancelStuckSend(absl::Duration limit) {
  MutexLock lock(&mu_);
  if (sending_ && SteadyClock().Now() - send_start_ > limit) context_.TryCancel();
}

}  // namespace gradwire
