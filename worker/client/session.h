// SPDX-License-Identifier: Apache-2.0
// A worker's session with a server, usable without gradwire's own trainer:
//
//   Session::Connect, then while NextTurn() says kCompute: compute a gradient at
//   parameters(), Push it; at the end Leave.
//
// Broken connections, lost leases, resyncs and the steps that a returning worker computes again
// are dealt with inside NextTurn.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/replica/job.h"
#include "gradwire/v1/gradient.pb.h"
#include "gradwire/v1/service.pb.h"
#include "worker/client/follower.h"
#include "worker/client/patience.h"
#include "worker/client/stop_flag.h"
#include "worker/client/uplink.h"
#include "worker/client/worker_state.h"

namespace gradwire {

class Heartbeat;
class ServerStub;
class ClientSecurity;
class ClientStream;

struct SessionOptions {
  std::string server = "127.0.0.1:7070";            // host:port
  std::string worker_id = {};                       // stable over restarts; 1 to 256 bytes
  absl::Duration give_up_after = absl::Minutes(5);  // without a word from the server
  uint64_t schema_hash = 0;        // of the job that is expected; 0: whatever the server has
  std::string build = {};          // for the server's log: version, kernels, BLAS core
  const StopFlag* stop = nullptr;  // ends every wait; must outlive the session
  std::string state_dir = {};  // for a WorkerStateStore; empty: a residual dies with its process
  uint64_t state_every = 100;  // versions between two saved states; at least 1
  FileSystem* files = PosixFileSystem();  // of state_dir; must outlive the session
  Shard shard = {};                       // that the server is to be: see ShardedSession
  // Where the replica's parameters are to be, once the job is known; null: its own memory.
  std::function<absl::Span<float>(const Job& job)> home = nullptr;
  // Asked for the server's job before anything of its size is made; an error ends Connect.
  std::function<absl::Status(const Job&)> admit = {};
  std::shared_ptr<ClientSecurity> security = nullptr;  // TLS and token; null: neither
};

// What the worker is to do next.
struct Turn {
  enum class Kind { kCompute, kFinished };
  Kind kind = Kind::kFinished;
  uint64_t step = 0;     // to compute; 0 when finished
  uint64_t version = 0;  // of parameters(): step-1, or step-2 in a job with `lag: 1`
  // Which of its samples the worker should take: the step; ASYNC: the number of its own payload.
  uint64_t batch = 0;
  float learning_rate = 0;  // of step version+1
  uint32_t rank = 0;
  // The payload of this step was sent already, or will not be: it is computed again for the sake
  // of the residual.  Push as always.
  bool replay = false;
  // kCompute: this is the lowest member, whose evaluations count.  kFinished: this worker is
  // the one to evaluate the final parameters.
  bool evaluate = false;
};

// Totals of this session, both directions.  Wire bytes are messages as gRPC gets them, with its
// 5 bytes before each.
struct SessionTraffic {
  uint64_t up_payload_bytes = 0;
  uint64_t up_wire_bytes = 0;
  uint64_t down_payload_bytes = 0;
  uint64_t down_wire_bytes = 0;
};

// One thread at a time.  It runs a reader and a heartbeat thread of its own.
//
// Errors of all calls: Cancelled when options.stop was requested; Unavailable when the server
// was not heard for give_up_after; otherwise what the server answered, or what is wrong with what
// it sent, with its address.  After an error the session is of no more use.
class Session {
 public:
  // Joins the job: from now on heartbeats keep the lease.  The worker becomes a member only in
  // NextTurn, so that whatever it has to load first is loaded by then.  FailedPrecondition: the
  // state directory is in use, or of another worker or job.
  static absl::StatusOr<std::unique_ptr<Session>> Connect(SessionOptions options);
  ~Session();

  // Follows the log until its newest header names this worker, or the job has ended.
  absl::StatusOr<Turn> NextTurn();

  // The gradient of the turn's step, dimension() values, taken as scratch.  A break while it is
  // sent is no error: the payload is held and sent again by NextTurn.  That of a replay is held
  // until its record comes, but not sent.  With `lag: 1` it first waits for the update before the
  // step, and the payload goes out in the background.  FailedPrecondition without a turn of kind
  // kCompute.
  absl::Status Push(absl::Span<float> gradient, const StepReport& report);
  // Whether the last Push made a payload of the gradient.  Not: with `lag: 1`, that step has no
  // place for it, as the job has ended or this worker was left out.
  bool pushed() const { return pushed_; }

  // Gives the lease back; the last call.  A payload that was just sent gets a moment to be used
  // first, and the state is saved.  When the job has ended, FailedPrecondition with both hashes if
  // the server's final parameters are not this replica's; a server that is gone by then is only
  // warned about.
  absl::Status Leave(absl::string_view reason, const std::optional<v1::Evaluation>& evaluation);

  bool left() const { return left_; }          // Leave was called
  bool finished() const { return finished_; }  // the job is done, and the parameters are its result
  bool stopped() const { return stopped_; }    // the server stopped the job before its end
  const std::shared_ptr<const Job>& job() const { return job_; }
  absl::Span<const float> parameters() const { return follower_->replica().parameters(); }
  uint64_t version() const { return follower_->replica().version(); }
  const v1::Header& header() const { return follower_->replica().header(); }
  uint64_t ParametersHash() const { return follower_->replica().ParametersHash(); }
  uint32_t rank() const { return self_.rank; }
  SessionTraffic traffic() const;
  uint64_t reconnects() const { return streams_opened_ > 0 ? streams_opened_ - 1 : 0; }

 private:
  friend class ShardedSession;  // steps through the sessions of all shards together

  explicit Session(SessionOptions options);
  static absl::StatusOr<std::unique_ptr<Session>> Make(SessionOptions options);

  // session_connect.cc: how a session comes, or comes back, to an open stream.
  absl::Status JoinOnce();
  absl::Status TakeJob(const v1::JoinResponse& response);
  absl::Status TakeLease(const v1::JoinResponse& response);
  absl::StatusOr<bool> TakeSnapshot(uint64_t at_version);
  absl::Status OpenStream();
  absl::Status CloseStream();
  void Rejoin();
  void JoinAnew();

  // session_recovery.cc: the replica to start from, the residual that belongs to it, and its files.
  absl::Status OpenStore();
  void AddSavedPoints(v1::JoinRequest* request) const;
  void PlanReplica(const v1::JoinResponse& response);
  absl::Status MakeReplica();
  void SettleResidual();
  absl::Status LoadSaved();
  void GiveUpSaved(absl::string_view why);
  void BeginEmpty();
  void SayRecovered();
  void SaveWhenDue();
  void SaveAtEnd();
  void Save();
  void WarnOnce(const absl::Status& status);
  // ASYNC: none, as a residual then belongs to no version.
  bool KeepsState() const { return store_ != nullptr && job_->remembers && !IsAsync(); }

  // session_shard.cc: one session of several, which keep to the same versions.
  void AddShard(v1::JoinRequest* request) const;
  absl::Status CheckShard(const v1::JoinResponse& response) const;
  void StartOver();
  void FollowLead(const MemberKey& lead);
  void TakeLead(const v1::Header& header, const std::string& bytes, uint64_t version);
  bool IsAt(uint64_t version) const;
  bool AtLimit() const;
  bool IsInLine() const { return joined_ && !needs_replica_ && in_line_; }
  bool IsOffered(uint64_t version) const;
  // Where an empty residual may begin.
  bool MayBegin() const { return meet_at_.has_value() ? version() >= *meet_at_ : IsCaughtUp(); }
  // What opens the step after the replica's version; of a shard that follows, shard 0's.
  const v1::Header& opening() const;

  // session_ahead.cc: `lag: 1`.
  bool HasLag() const { return job_->config.lag() > 0; }
  bool AheadIsDue() const;
  Turn MakeTurnAhead() const;
  absl::StatusOr<bool> AwaitUpdateBefore();
  bool GoesOn() const;
  std::optional<MemberKey> Place() const;  // that the newest header gives this worker's id
  uint64_t SnapshotToStartFrom() const;
  void SayWithoutLag() const;

  // session_turn.cc
  bool TurnIsDue() const;      // of the open step: not made yet, or to be made again
  bool TurnMayBeVoid() const;  // a record may close the step without this worker's payload
  bool IsTooFarAhead() const;
  Turn MakeTurn() const;

  // session.cc
  absl::StatusOr<bool> Pump(absl::Duration wait);
  absl::StatusOr<bool> PumpOrRetry(absl::Duration wait);
  absl::Status CheckStop() const;
  absl::Status Retry(const absl::Status& error);
  absl::Status Handle(v1::TrainResponse response);
  absl::Status TakeUpdatePart(std::string part);
  absl::Status Resync(const std::string& reason);
  absl::Status CheckHeard();
  void SettleHeld();
  absl::Status LeaveOnce(const v1::LeaveRequest& request);
  void FinishIfOver();
  bool IsCaughtUp() const;
  const v1::Member* Named() const;  // this worker's id in the newest header; null: it is not there
  bool IsFixed() const { return job_->config.membership().mode() == v1::Membership::FIXED; }
  bool IsAsync() const { return job_->config.consistency() == v1::ASYNC; }
  bool MaySend() const;  // the newest record lets this worker send a payload
  absl::Status Encode(absl::Span<float> gradient, const StepReport& report);
  void CountSent(const v1::TrainRequest& request);
  bool Send(const std::shared_ptr<const v1::TrainRequest>& request);
  void SendCaughtUp();
  void SendHeld();

  const SessionOptions options_;
  const std::unique_ptr<ServerStub> stub_;
  Patience patience_;  // uses stub_

  std::shared_ptr<const Job> job_;
  std::unique_ptr<Follower> follower_;
  std::unique_ptr<Uplink> uplink_;

  uint64_t session_id_ = 0;
  bool joined_ = false;
  MemberKey self_;
  v1::Point promised_;  // where the server's log stood at Join
  bool needs_replica_ = false;
  bool job_over_ = false;  // as Join said
  bool finished_ = false;  // and the replica is where the job ended
  bool left_ = false;
  bool stopped_ = false;
  uint32_t resyncs_ = 0;  // since the last record
  bool pushed_ = false;

  std::optional<MemberKey> place_before_;  // as Place(), in the header before the newest
  std::optional<uint64_t> ahead_at_;  // version, while a turn of the step after the next is open

  uint64_t limit_ = UINT64_MAX;      // records of later versions are left unread
  std::optional<uint64_t> meet_at_;  // where all shards' sessions begin; none: where the log ends
  std::optional<std::vector<uint64_t>> offered_;  // versions of saved states; none: all of them
  bool out_of_line_ = false;  // the server has no way on from the replica: all start over
  MemberKey lead_;            // of shard 0, whose lease counts here, too
  v1::Header lead_header_;
  std::string lead_bytes_;
  std::optional<uint64_t> lead_version_;  // whose record it is of

  std::unique_ptr<WorkerStateStore> store_;  // null without a state_dir
  // The residual is that of the replica's version.  If not, the replica is on its way to a saved
  // state's version, or to where an empty residual may begin.
  bool in_line_ = false;
  std::optional<v1::Point> recover_at_;  // of the saved state to load
  std::string why_empty_;                // why there is none
  // The first incarnation that has this residual: what older ones sent is not of it.
  uint64_t line_incarnation_ = 0;
  bool recovered_ = false;  // loaded from a file, and not emptied since
  bool recovering_ = false;
  uint64_t recovered_at_ = 0;  // version
  uint64_t replayed_ = 0;      // steps since then
  absl::Status save_failure_;  // the last one, while saving fails

  std::shared_ptr<ClientStream> stream_;
  bool caught_up_sent_ = false;  // on this stream
  uint64_t streams_opened_ = 0;
  std::unique_ptr<Heartbeat> heartbeat_;  // uses stub_

  absl::Duration id_held_since_ = absl::InfiniteDuration();  // by another process, as Join says
  uint64_t up_payload_bytes_ = 0;
  uint64_t up_wire_bytes_ = 0;
  uint64_t down_wire_bytes_ = 0;
};

}  // namespace gradwire
