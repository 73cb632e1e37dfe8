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
constexpr size_t kMaxWaiting = 2;  // messages; one is applied while the next arrives

}  // namespace

// What the generated stub does, but for the type that is written.
ClientStream::ClientStream(grpc::ChannelInterface* channel)
    : stream_(
          grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, v1::TrainResponse>::Create(
              channel,
              grpc::internal::RpcMethod(kTrainMethod, grpc::internal::RpcMethod::BIDI_STREAMING),
              &context_)),
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

bool ClientStream::HasRoomOrClosing() const { return closing_ || waiting_.size() < kMaxWaiting; }

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
  final_ = FromGrpc(stream_->Finish());
  closed_ = true;
  return final_;
}

void ClientStream::CancelStuckSend(absl::Duration limit) {
  MutexLock lock(&mu_);
  if (sending_ && SteadyClock().Now() - send_start_ > limit) context_.TryCancel();
}

}  // namespace gradwire
