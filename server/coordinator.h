// SPDX-License-Identifier: Apache-2.0
// The job, as its server runs it: members, rounds and updates behind one lock.  No gRPC.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/optimizer/learning_rate.h"
#include "gradwire/v1/admin.pb.h"
#include "gradwire/v1/service.pb.h"
#include "server/counters.h"
#include "server/history.h"
#include "server/membership.h"
#include "server/on_demand.h"
#include "server/reset_rule.h"
#include "server/round.h"
#include "server/subscriber.h"
#include "server/update_maker.h"

namespace gradwire {

struct CoordinatorOptions {
  std::string state_dir;
  size_t max_log_bytes = size_t{256} << 20;
  size_t max_waiting_bytes = size_t{256} << 20;  // payloads that wait for a lower rank's
};

enum class Phase { kWaiting, kTraining, kStarved, kFinishing, kFinished, kFailed };

// A worker that went before the job's end.
struct Departure {
  std::string worker;
  uint32_t rank = 0;
  uint64_t step = 0;  // the open one
  std::string reason;
};

// Thread-safe.  Its methods answer as proto/README.md says; streams are told what they owe
// after the lock is released.
class Coordinator {
 public:
  static constexpr uint32_t kMaxAbstainedRunning = 10;
  static constexpr size_t kMaxDepartures = 1000;

  // `clock` and `counters` must outlive it.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Create(CoordinatorOptions options,
                                                             std::shared_ptr<const Job> job,
                                                             const Clock* clock,
                                                             ServerCounters* counters);

  absl::StatusOr<v1::JoinResponse> Join(const v1::JoinRequest& request, absl::string_view peer)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Heartbeat(const v1::HeartbeatRequest& request) ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<v1::LeaveResponse> Leave(const v1::LeaveRequest& request) ABSL_LOCKS_EXCLUDED(mu_);

  // Registers the stream and gives the first version to send.  OutOfRange: the point is not
  // on the log, answer Resync.
  absl::StatusOr<uint64_t> Hello(const v1::Hello& hello, std::shared_ptr<Subscriber> stream)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status CaughtUp(const v1::Hello& who) ABSL_LOCKS_EXCLUDED(mu_);
  // An error ends the stream; nothing of the message has been used then.
  absl::Status Gradient(const v1::Hello& who, const v1::Gradient& message) ABSL_LOCKS_EXCLUDED(mu_);
  // False: read no more from this worker until Wake().
  bool MayRead(const v1::Hello& who) ABSL_LOCKS_EXCLUDED(mu_);
  void StreamEnded(const v1::Hello& who, const Subscriber* stream) ABSL_LOCKS_EXCLUDED(mu_);

  // Expires leases and time-outs; a few times a second.
  void Tick() ABSL_LOCKS_EXCLUDED(mu_);

  const UpdateLog& log() const { return log_; }
  const std::shared_ptr<const Job>& job() const { return job_; }
  // NotFound when there is none yet, and says when there will be.
  absl::StatusOr<Snapshots::File> SnapshotAt(uint64_t version) ABSL_LOCKS_EXCLUDED(mu_);
  v1::GetStatusResponse GetStatus() ABSL_LOCKS_EXCLUDED(mu_);

  struct Result {
    Phase phase = Phase::kWaiting;
    absl::Status failure;
    uint64_t version = 0;
    double seconds = 0;  // from the first step's header to the last update
    double loss = 0;
    v1::Evaluation evaluation;
    uint64_t parameters_hash = 0;
    std::vector<Departure> departures;
  };
  // Waits up to `timeout` for the job to end; phase tells whether it has.
  Result WaitForEnd(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mu_);

  // For SIGTERM: no step is opened any more; waits up to `timeout` for the open round,
  // takes a snapshot, and ends every stream with UNAVAILABLE.
  absl::Status Drain(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  Coordinator(CoordinatorOptions options, std::shared_ptr<const Job> job,
              std::unique_ptr<History> history, const Clock* clock, ServerCounters* counters);

  absl::StatusOr<v1::JoinResponse> JoinLocked(const v1::JoinRequest& request,
                                              absl::string_view peer, Effects* effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status GradientLocked(const v1::Hello& who, const v1::Gradient& message, Effects* effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Why the worker's replica is not the server's; empty when it is, as far as the message says.
  std::string Divergence(const v1::Gradient& message) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status OrderResync(WorkerEntry* worker, const std::string& why, Effects* effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The worker is gone: from the round, the members and the streams.  Its stream is ended
  // with `error`; when that is OK and the worker was lost, with Aborted and the reason.
  void Depart(WorkerEntry* worker, WorkerEntry::State state, std::string reason, Effects* effects,
              absl::Status error = absl::OkStatus()) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DepartRefused(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropFromRound(uint32_t rank, Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Makes whatever step is possible now: the start, an update, the end.
  void Advance(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Start(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CloseRound(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckAbstentions() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  v1::Header MakeHeader(const std::vector<v1::Member>& next) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Commit(uint64_t version, MadeUpdate update, const v1::Header& header, Effects* effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Fail(const absl::Status& status, Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FinishIfAllLeft(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Running() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return phase_ == Phase::kTraining || phase_ == Phase::kStarved;
  }
  std::string StateOf(const WorkerEntry& worker) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  v1::Point NewestPoint() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WakeAll(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // So many payload bytes wait for a lower rank's that some streams are not read.
  bool Full() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return round_.waiting_bytes() > options_.max_waiting_bytes;
  }

  const CoordinatorOptions options_;
  const std::shared_ptr<const Job> job_;
  const Clock* const clock_;
  ServerCounters* const counters_;
  const std::unique_ptr<History> history_ ABSL_PT_GUARDED_BY(mu_);
  const UpdateLog& log_;  // history_'s: it has a lock of its own

  Mutex mu_;
  CondVar ended_;
  Phase phase_ ABSL_GUARDED_BY(mu_) = Phase::kWaiting;
  bool drained_ ABSL_GUARDED_BY(mu_) = false;  // no update is made any more
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  Membership membership_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::shared_ptr<Subscriber>> streams_ ABSL_GUARDED_BY(mu_);  // by worker
  Round round_ ABSL_GUARDED_BY(mu_);
  UpdateMaker update_maker_ ABSL_GUARDED_BY(mu_);
  ResetRule reset_rule_ ABSL_GUARDED_BY(mu_);
  OnDemand on_demand_ ABSL_GUARDED_BY(mu_);
  LearningRate learning_rate_ ABSL_GUARDED_BY(mu_);
  std::vector<Departure> departures_ ABSL_GUARDED_BY(mu_);
  v1::Evaluation evaluation_ ABSL_GUARDED_BY(mu_);
  double loss_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Duration created_;
  absl::Duration started_ ABSL_GUARDED_BY(mu_);
  absl::Duration last_update_ ABSL_GUARDED_BY(mu_);
  std::deque<absl::Duration> recent_updates_ ABSL_GUARDED_BY(mu_);
};

absl::string_view PhaseName(Phase phase);

}  // namespace gradwire
