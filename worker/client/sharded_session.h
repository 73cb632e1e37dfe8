// SPDX-License-Identifier: Apache-2.0
// A worker's sessions with all shards of a job, as one: to its trainer there is one vector of
// parameters and one gradient.
//
// Each shard has a stream, a replica, an uplink and a heartbeat of its own (a Session), and all of
// them keep to the same version: a step is computed when every replica has come to the version
// before it.  Shard 0 leads; what its header says of the next step is carried to the others.  The
// one recovery path: when a session has lost its way, all of them start over from the lowest
// version of the shards, or from the newest saved state that all have.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/replica/job.h"
#include "worker/client/session.h"

namespace gradwire {

// With one server it is that Session and nothing more.  One thread at a time; errors are those of
// Session.
class ShardedSession {
 public:
  // `options.server` names all shards in order: see ParseAddresses.  The states of shard k of
  // several are kept in STATE_DIR/shard-k.  FailedPrecondition: the list is not the job's shards.
  static absl::StatusOr<std::unique_ptr<ShardedSession>> Connect(SessionOptions options);

  // As of Session.
  absl::StatusOr<Turn> NextTurn();
  absl::Status Push(absl::Span<float> gradient, const StepReport& report);
  absl::Status Leave(absl::string_view reason, const std::optional<v1::Evaluation>& evaluation);

  bool pushed() const { return !alone() || lead().pushed(); }  // several shards know no lag
  bool left() const { return left_; }
  bool stopped() const;
  bool finished() const;  // with all shards: the job is done, and the parameters are its result
  // The whole job.
  const std::shared_ptr<const Job>& job() const { return alone() ? lead().job() : job_; }
  absl::Span<const float> parameters() const;
  uint64_t version() const { return lead().version(); }
  const v1::Header& header() const { return lead().header(); }
  uint64_t ParametersHash() const;
  SessionTraffic traffic() const;

 private:
  ShardedSession() = default;

  bool alone() const { return sessions_.size() == 1; }
  Session& lead() const { return *sessions_.front(); }
  absl::Span<float> HomeOf(const Job& shard);
  absl::Status Meet();
  absl::Status JoinAll(const std::optional<std::vector<uint64_t>>& offered);
  std::vector<uint64_t> CommonSaved() const;
  bool AllReach(const std::vector<uint64_t>& saved) const;
  void LeaveOutUnreached(std::vector<uint64_t>* saved) const;
  absl::Status Advance();
  bool AllAreAt(uint64_t version) const;
  bool NeedsMeeting() const;
  void ShareLead();
  bool AnyTurnIsDue() const;
  Turn MakeTurn() const;

  std::vector<std::unique_ptr<Session>> sessions_;  // by shard
  const StopFlag* stop_ = nullptr;
  std::shared_ptr<const Job> job_;
  std::function<absl::Status(const Job&)> admit_;  // SessionOptions', for the whole job
  absl::Status admitted_;                          // what it said
  std::vector<float> parameters_;                  // of all shards
  uint64_t next_ = 0;  // the version that all sessions are on the way to
  bool met_ = false;   // since the last one that lost its way
  bool left_ = false;
};

// The id of the worker whose states are in `state_dir`, by itself or of several shards.
absl::StatusOr<std::string> SavedWorkerIdOfShards(const std::string& state_dir, FileSystem* files);

}  // namespace gradwire
