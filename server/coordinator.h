// SPDX-License-Identifier: Apache-2.0
// The job, as its server runs it: members, rounds and updates behind one lock.  No gRPC.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "gradwire/v1/admin.pb.h"
#include "gradwire/v1/service.pb.h"
#include "server/async_rounds.h"
#include "server/counters.h"
#include "server/history.h"
#include "server/membership.h"
#include "server/round.h"
#include "server/subscriber.h"

namespace gradwire {

struct CoordinatorOptions {
  HistoryOptions history;
  size_t max_waiting_bytes = size_t{256} << 20;  // payloads that wait for a lower rank's
};

enum class Phase { kWaiting, kTraining, kStarved, kPaused, kFinishing, kFinished, kFailed };

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
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request)
      ABSL_LOCKS_EXCLUDED(mu_);
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

  // Changes operational fields of the job.  `done` is called once, without the lock: now, when
  // nothing changes or the settings are refused; when the record that has them is committed; or
  // with DeadlineExceeded after `patience`, and Unavailable when the server goes first.
  using SetDone = std::function<void(absl::StatusOr<v1::SetResponse>)>;
  void Set(const v1::Settings& settings, absl::Duration patience, SetDone done)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Expires leases and time-outs; a few times a second.
  void Tick() ABSL_LOCKS_EXCLUDED(mu_);

  const UpdateLog& log() const { return log_; }
  const Snapshots& snapshots() const { return snapshots_; }
  // As its file had it when this server started: see GetStatus for what was set since.
  const std::shared_ptr<const Job>& job() const { return job_; }
  // The newest at or below `version` (0: the newest).  NotFound when there is none yet, and says
  // when there will be.
  absl::StatusOr<Snapshots::File> SnapshotAt(uint64_t version) ABSL_LOCKS_EXCLUDED(mu_);
  // The server's state as a snapshot of now would hold it, for audits; empty before the start.
  std::string EncodeState() ABSL_LOCKS_EXCLUDED(mu_);
  v1::GetStatusResponse GetStatus() ABSL_LOCKS_EXCLUDED(mu_);

  struct Result {
    Phase phase = Phase::kWaiting;
    absl::Status failure;
    uint64_t version = 0;
    uint64_t steps = 0;  // the job's
    double seconds = 0;  // from the first step's header to the last update
    double loss = 0;
    v1::Evaluation evaluation;
    uint64_t parameters_hash = 0;
    std::vector<Departure> departures;
    std::vector<uint64_t> staleness;  // as v1::GetStatusResponse has them
    std::vector<uint64_t> lead;
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
  // Refuses what is of no step that this worker may send now.  False: it is to be ignored.
  absl::StatusOr<bool> CheckStep(WorkerEntry* worker, const v1::Gradient& message)
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
  // ELASTIC: the round goes on without it.  FIXED: the round waits for it.
  void DropFromRound(uint32_t rank, Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // FIXED: from now on this incarnation speaks for the rank.
  void ReplaceInRound(const WorkerEntry& worker, Effects* effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AskAllAgain(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TrimLog() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DepartStuck(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CheckLost(absl::Duration now, Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The newest of the worker's saved points that it can get to.
  void AnswerSaved(const v1::JoinRequest& request, WorkerEntry* worker,
                   v1::JoinResponse* response) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool OnLog(const v1::Point& point) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Makes whatever step is possible now: the start, an update, the end.
  void Advance(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Start(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // After a restart: members and the open step, as the newest record says.
  void Resume() ABSL_LOCKS_EXCLUDED(mu_);
  void RememberMembers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OpenRound() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Of kept payloads: enough are in, or all that may still come.
  bool MayClose() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CloseRound(const Round& round, Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CountRefused(WorkerEntry* worker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    counters_->payloads_refused.Add();
    ++worker->payloads_refused;
  }
  void CountTooLarge(const Round& round) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckAbstentions(const Round& round) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  v1::Header MakeHeader(const Round& round, const std::vector<v1::Member>& next)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // coordinator_shard.cc: a shard after the first, which follows what shard 0 decides.
  bool Follows() const { return job_->shard.follows(); }
  // Shard 0's header for the open step has come.
  bool IsLed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !lead_bytes_.empty(); }
  absl::Status CheckShard(const v1::JoinRequest& request) const;
  absl::StatusOr<WorkerEntry*> Lease(const v1::JoinRequest& request, absl::string_view peer,
                                     Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status TakeLead(const WorkerEntry& worker, const v1::Gradient& message, Effects* effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status TakeEnd(const v1::LeaveRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ResumeFollowing() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  v1::Header MakeFollowingHeader(const Round& round) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CheckLeft(absl::Duration now, Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropAbsent(absl::Duration now, Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool MembersAreKnown() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // coordinator_async.cc
  void AdvanceAsync(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool MembersAreGone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FillAsyncHeader(const Round& round, v1::Header* header) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckLead(const WorkerEntry& worker) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool AllHaveAbstained() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CountAnswer(const v1::Header& header) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes the made update; TryCommit makes it the newest version, now or when there is room on
  // the disk.
  void Commit(uint64_t version, MadeUpdate update, v1::Header header, Effects* effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TryCommit(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Fail(const absl::Status& status, Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SaveFinal(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FinishIfAllLeft(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void SetLocked(const v1::Settings& settings, absl::Duration patience, SetDone done,
                 Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckMaySet() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The version of the record that has what is planned now.
  uint64_t NextRecord() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status PlanSettings(const v1::Settings& settings) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TakeConfig(v1::JobConfig config) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // What differs in the job file from when the state directory saw it last.
  absl::Status TakeFileChanges() ABSL_LOCKS_EXCLUDED(mu_);
  void NoteJobFile() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Every header that is made gets what is planned.
  void AddSettings(v1::Header* header) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SettingsCommitted(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RefuseSettings(const absl::Status& status, Effects* effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ExpireSettings(absl::Duration now, Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  bool Running() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return phase_ == Phase::kTraining || phase_ == Phase::kStarved || phase_ == Phase::kPaused;
  }
  bool IsFixed() const { return job_->config.membership().mode() == v1::Membership::FIXED; }
  bool IsQuorum() const { return job_->config.consistency() == v1::QUORUM; }
  bool IsAsync() const { return job_->config.consistency() == v1::ASYNC; }
  // Where a worker has to begin that is to compute the step after `version`.
  uint64_t BeforeLag(uint64_t version) const {
    return version - std::min<uint64_t>(version, job_->config.lag());
  }
  std::string Missing() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return IsAsync() ? async_.Missing() : round_.Missing();
  }
  std::string StateOf(const WorkerEntry& worker) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  v1::Point NewestPoint() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WakeAll(Effects* effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // So many payload bytes wait for a lower rank's that some streams are not read.  Payloads that
  // are kept wait for all others': no pause would help.
  bool Full() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return !job_->keeps_payloads() && round_.waiting_bytes() > options_.max_waiting_bytes;
  }

  const CoordinatorOptions options_;
  const std::shared_ptr<const Job> job_;
  const Clock* const clock_;
  ServerCounters* const counters_;
  const std::unique_ptr<History> history_ ABSL_PT_GUARDED_BY(mu_);
  const UpdateLog& log_;  // history_'s, as the next: they have locks of their own
  const Snapshots& snapshots_;

  Mutex mu_;
  CondVar ended_;
  Phase phase_ ABSL_GUARDED_BY(mu_) = Phase::kWaiting;
  bool drained_ ABSL_GUARDED_BY(mu_) = false;  // no update is made any more
  absl::Status failure_ ABSL_GUARDED_BY(mu_);  // as workers are told
  absl::Status cause_ ABSL_GUARDED_BY(mu_);    // the same with its own code
  v1::JobConfig config_ ABSL_GUARDED_BY(mu_);  // as it will be from the next record on
  Membership membership_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::shared_ptr<Subscriber>> streams_ ABSL_GUARDED_BY(mu_);  // by worker
  Round round_ ABSL_GUARDED_BY(mu_);  // ASYNC: of nobody, for updates that only change the members
  AsyncRounds async_ ABSL_GUARDED_BY(mu_);
  std::string lead_bytes_ ABSL_GUARDED_BY(mu_);  // shard 0's header for the open step, if it came
  v1::Header lead_header_ ABSL_GUARDED_BY(mu_);  // the same, or the one before
  absl::Duration led_since_ ABSL_GUARDED_BY(mu_);
  absl::Duration seen_alive_ ABSL_GUARDED_BY(mu_);  // when there last was a worker; of Follows()
  bool began_ended_ ABSL_GUARDED_BY(mu_) = false;   // and the job had ended before this start
  std::vector<uint64_t> staleness_ ABSL_GUARDED_BY(mu_);  // as v1::GetStatusResponse has them
  std::vector<uint64_t> lead_ ABSL_GUARDED_BY(mu_);
  absl::Duration first_arrival_ ABSL_GUARDED_BY(mu_);  // in this round; QUORUM
  // Made, but not yet on the log: the disk is full or too slow.
  std::shared_ptr<const Record> pending_ ABSL_GUARDED_BY(mu_);
  v1::Header pending_header_ ABSL_GUARDED_BY(mu_);
  struct SetCall {
    SetDone done;
    absl::Duration until;
  };
  v1::Settings planned_ ABSL_GUARDED_BY(mu_);                  // for the next record
  std::vector<SetCall> set_waiting_ ABSL_GUARDED_BY(mu_);      // for it to be made
  std::vector<SetCall> set_riding_ ABSL_GUARDED_BY(mu_);       // for pending_ to be committed
  std::optional<uint64_t> job_file_due_ ABSL_GUARDED_BY(mu_);  // noted when this is committed
  bool job_file_refused_ ABSL_GUARDED_BY(mu_) = false;         // by the disk, and said
  bool final_saved_ ABSL_GUARDED_BY(mu_) = false;
  bool final_refused_ ABSL_GUARDED_BY(mu_) = false;  // by a full disk, and said
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
