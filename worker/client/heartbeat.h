// SPDX-License-Identifier: Apache-2.0
// Renews a worker's lease from a thread of its own, whatever the trainer does.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "worker/client/client_stream.h"
#include "worker/client/server_stub.h"

namespace gradwire {

// Sends a heartbeat every third of the lease, and often enough that a server that is only waiting
// for others is heard within the patience, until it is destroyed.  Thread-safe.
class Heartbeat {
 public:
  struct Options {
    std::string worker_id;
    uint64_t incarnation = 0;
    absl::Duration lease;
    absl::Duration patience;  // with a server that is silent, or takes no message: see Watch
    std::optional<uint64_t> saved_version = std::nullopt;  // see Saved
  };
  // `stub` must outlive it.
  Heartbeat(Options options, ServerStub* stub);
  // Cancels a call under way.
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  // The trainer got on, or waits for nobody but the server.
  void Progress(uint64_t step) ABSL_LOCKS_EXCLUDED(mu_);

  // The oldest version of which the worker keeps a state, if any: the server keeps its log back
  // to it.
  void Saved(std::optional<uint64_t> version) ABSL_LOCKS_EXCLUDED(mu_);

  // From now on a Send of `stream` that takes longer than the patience is cancelled.
  void Watch(std::weak_ptr<ClientStream> stream) ABSL_LOCKS_EXCLUDED(mu_);

  // When the server last answered, on SteadyClock.  The construction counts as an answer.
  absl::Duration last_answer() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  bool WaitForNext() ABSL_LOCKS_EXCLUDED(mu_);
  void Beat() ABSL_LOCKS_EXCLUDED(mu_);

  const Options options_;
  ServerStub* const stub_;

  mutable Mutex mu_;
  CondVar stopped_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<grpc::ClientContext> call_ ABSL_GUARDED_BY(mu_);  // under way
  std::weak_ptr<ClientStream> stream_ ABSL_GUARDED_BY(mu_);
  uint64_t step_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<uint64_t> saved_version_ ABSL_GUARDED_BY(mu_);
  absl::Duration last_progress_ ABSL_GUARDED_BY(mu_);
  absl::Duration last_answer_ ABSL_GUARDED_BY(mu_);
  absl::Duration interval_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;  // last: uses all of the above
};

}  // namespace gradwire
