// SPDX-License-Identifier: Apache-2.0
// Sends snapshots to all who ask for one: a chunk each in turn, at a bounded rate in all.  No gRPC.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/pacer.h"
#include "server/model_file.h"

namespace gradwire {

struct ModelSenderOptions {
  double bytes_per_second = 100e6;             // to all together; 0: as fast as they take it
  size_t max_receivers = 16;                   // at once
  absl::Duration patience = absl::Minutes(1);  // with one that does not take its chunk
};

// Who gets a snapshot.  All is called on the sender's own thread.
class ModelReceiver {
 public:
  virtual ~ModelReceiver() = default;

  // First of all, and once; null: nothing is to be sent but an empty last chunk.
  virtual absl::StatusOr<std::unique_ptr<ModelFile>> Open() = 0;
  // The file's next bytes.  Nothing more comes until ModelSender::Taken is called.
  virtual void Send(std::string chunk, bool last) = 0;
  // Nothing more comes.  Also to one that has not taken its chunk.
  virtual void End(absl::Status status) = 0;
};

// Reads one chunk at a time, and only for a receiver that has taken the one before.  Thread-safe.
class ModelSender {
 public:
  explicit ModelSender(ModelSenderOptions options);
  // No receiver is called afterwards.
  ~ModelSender();

  // ResourceExhausted: there are max_receivers; nothing is called then.
  absl::Status Add(std::shared_ptr<ModelReceiver> receiver) ABSL_LOCKS_EXCLUDED(mu_);
  void Taken(const ModelReceiver* receiver) ABSL_LOCKS_EXCLUDED(mu_);
  // It has come to its end, or is gone; a call that is under way may still reach it.
  void Remove(const ModelReceiver* receiver) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Call {
    std::shared_ptr<ModelReceiver> receiver;
    // Of the sender's thread alone.
    bool opened = false;
    std::unique_ptr<ModelFile> file;
    uint64_t sent = 0;  // bytes
    // Under mu_.
    bool has_chunk = false;  // that it has not taken since `since`
    absl::Duration since;
  };
  using CallPtr = std::shared_ptr<Call>;

  void Run();
  // Waits for one that may be sent a chunk, or (`*silent`) is to be ended; null: the end of all.
  CallPtr NextTurn(bool* silent) ABSL_LOCKS_EXCLUDED(mu_);
  CallPtr FindSilent(absl::Duration now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SendChunk(Call* call) ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<std::string> ReadChunk(Call* call);

  const ModelSenderOptions options_;
  const SteadyClock clock_;
  Mutex mu_;
  CondVar changed_;
  Pacer pacer_ ABSL_GUARDED_BY(mu_);
  std::map<const ModelReceiver*, CallPtr> calls_ ABSL_GUARDED_BY(mu_);
  std::deque<CallPtr> ready_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace gradwire
