// SPDX-License-Identifier: Apache-2.0
// The worker's end of a Train stream: a thread that reads a few messages ahead, and a writer; where
// it is wanted, a thread that writes.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/impl/codegen/channel_interface.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/sync_stream.h>

#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "gradwire/v1/service.pb.h"

namespace gradwire {

// One thread (the owner) calls Send, SendBehind, FinishSending, Next and Close; CancelStuckSend is
// thread-safe.
class ClientStream {
 public:
  static constexpr size_t kReadAhead = 2;  // messages; one is applied while the next arrives

  // Opens the stream, and reads so many messages ahead.  What goes wrong shows in Next and Close.
  // `authorize` is called for its context first: it adds what the server wants to see.
  ClientStream(std::shared_ptr<grpc::ChannelInterface> channel,
               const std::function<void(grpc::ClientContext*)>& authorize,
               size_t read_ahead = kReadAhead);
  ~ClientStream();
  ClientStream(const ClientStream&) = delete;
  ClientStream& operator=(const ClientStream&) = delete;

  // Blocks while the server does not read.  False: the stream is broken.  The request is sent from
  // where it is, and must not change while gRPC shares it.
  bool Send(const std::shared_ptr<const v1::TrainRequest>& request) ABSL_LOCKS_EXCLUDED(mu_);

  // The same for several messages, not none, in a thread of the stream's own, after FinishSending.
  using Requests = std::shared_ptr<const std::vector<v1::TrainRequest>>;
  void SendBehind(Requests requests) ABSL_LOCKS_EXCLUDED(mu_);
  // Waits until what SendBehind took has been sent, or cannot be.
  void FinishSending() ABSL_LOCKS_EXCLUDED(mu_);

  enum class Read { kMessage, kTimeout, kEnded };
  Read Next(absl::Duration timeout, v1::TrainResponse* response) ABSL_LOCKS_EXCLUDED(mu_);

  // What the stream ended with.  One that still lives is cancelled: CANCELLED.
  absl::Status Close() ABSL_LOCKS_EXCLUDED(mu_);

  // Cancels the stream when one Send has waited for longer than `limit`: the server is
  // there but does not read.
  void CancelStuckSend(absl::Duration limit) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void ReadAhead() ABSL_LOCKS_EXCLUDED(mu_);
  void SendWhatComes() ABSL_LOCKS_EXCLUDED(mu_);
  bool HasRoomOrClosing() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const size_t read_ahead_;
  const std::shared_ptr<grpc::ChannelInterface> channel_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, v1::TrainResponse>> stream_;
  bool closed_ = false;
  absl::Status final_;

  Mutex mu_;
  CondVar changed_;
  std::deque<v1::TrainResponse> waiting_ ABSL_GUARDED_BY(mu_);
  bool ended_ ABSL_GUARDED_BY(mu_) = false;    // by the server or the network
  bool closing_ ABSL_GUARDED_BY(mu_) = false;  // by us
  bool sending_ ABSL_GUARDED_BY(mu_) = false;
  absl::Duration send_start_ ABSL_GUARDED_BY(mu_);
  Requests behind_ ABSL_GUARDED_BY(mu_);  // empty: nothing to send

  std::thread sender_;  // from the first SendBehind on; as the next, it uses all of the above
  std::thread reader_;
};

}  // namespace gradwire
