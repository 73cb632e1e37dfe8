// SPDX-License-Identifier: Apache-2.0
// One worker's Train stream: payloads in, records out.  A cursor into the log with
// one message in flight; nothing is queued for a slow reader.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <deque>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "common/base/mutex.h"
#include "common/base/thread_pool.h"
#include "gradwire/v1/service.grpc.pb.h"
#include "server/access.h"
#include "server/coordinator.h"
#include "server/counters.h"
#include "server/subscriber.h"

namespace gradwire {

// Raw bytes on both sides: records go out as the log has them, encoded once for all.
using TrainReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// gRPC owns it until OnDone, through a reference to itself; the coordinator shares it.
class TrainStream final : public TrainReactor,
                          public Subscriber,
                          public std::enable_shared_from_this<TrainStream> {
 public:
  // Starts reading, or ends the stream where `access` does not admit who has `shown` this.  All
  // four must outlive the server's shutdown.
  static TrainStream* Start(Coordinator* coordinator, ServerCounters* counters, ThreadPool* pool,
                            Access* access, Credentials shown);

  void WakeSoon() override;
  void Wake() override ABSL_LOCKS_EXCLUDED(mu_);
  void Send(v1::Control control) override ABSL_LOCKS_EXCLUDED(mu_);
  void Close(absl::Status status) override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  static constexpr size_t kMaxControls = 16;  // a reader that lets so many wait is cut off

  TrainStream(Coordinator* coordinator, ServerCounters* counters, ThreadPool* pool, Access* access,
              Credentials shown)
      : coordinator_(coordinator),
        counters_(counters),
        pool_(pool),
        access_(access),
        shown_(std::move(shown)),
        admitted_at_(access->generation()) {}

  void OnReadDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnCancel() override ABSL_LOCKS_EXCLUDED(mu_);
  void OnDone() override ABSL_LOCKS_EXCLUDED(mu_);

  // On the pool, possibly after OnDone: `self` keeps the stream, self_ may be gone.
  void Handle(const std::shared_ptr<TrainStream>& self) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status HandleRequest(const std::shared_ptr<TrainStream>& self, size_t wire_bytes)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status HandleHello(const std::shared_ptr<TrainStream>& self) ABSL_LOCKS_EXCLUDED(mu_);
  // Whether the caller may be who the hello says.
  absl::Status CheckCaller(const v1::Hello& hello) const;
  // The same when tokens have changed since.
  absl::Status CheckAgain();
  // Notes that the coordinator knows this stream.  True: gRPC was done with it before.
  bool EndedBeforeHello() ABSL_LOCKS_EXCLUDED(mu_);
  void ReadOn() ABSL_LOCKS_EXCLUDED(mu_);

  // Starts the next write or the Finish, if one is due and none is in flight.
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool NextControl() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool NextPart() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Coordinator* const coordinator_;
  ServerCounters* const counters_;
  ThreadPool* const pool_;
  Access* const access_;
  const Credentials shown_;
  std::atomic<uint64_t> admitted_at_;  // of access_: see CheckAgain
  std::shared_ptr<TrainStream> self_;  // until OnDone

  // Touched by one read at a time.
  grpc::ByteBuffer incoming_;
  v1::TrainRequest request_;
  v1::Hello who_;  // set by the first message; guarded by being written before any other use

  Mutex mu_;
  bool greeted_ ABSL_GUARDED_BY(mu_) = false;
  bool following_ ABSL_GUARDED_BY(mu_) = false;  // records are sent
  bool paused_ ABSL_GUARDED_BY(mu_) = false;     // no read is outstanding until Wake
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool registered_ ABSL_GUARDED_BY(mu_) = false;  // the coordinator knows it
  bool done_ ABSL_GUARDED_BY(mu_) = false;        // OnDone has come
  std::optional<absl::Status> closing_ ABSL_GUARDED_BY(mu_);
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<v1::Control> controls_ ABSL_GUARDED_BY(mu_);
  uint64_t next_version_ ABSL_GUARDED_BY(mu_) = 0;
  size_t next_part_ ABSL_GUARDED_BY(mu_) = 0;
  grpc::ByteBuffer outgoing_ ABSL_GUARDED_BY(mu_);
};

}  // namespace gradwire
