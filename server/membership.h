// SPDX-License-Identifier: Apache-2.0
// Who works on the job: leases, ranks and incarnations, and who is waited for.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gradwire/v1/gradient.pb.h"
#include "gradwire/v1/job.pb.h"

namespace gradwire {

// One worker id, as the server last knew it.
struct WorkerEntry {
  enum class State {
    kLeased,  // joined; not yet caught up
    kReady,   // caught up: the next header names it
    kLost,    // its stream broke or it fell silent
    kLeft,    // said so
  };
  std::string id;
  uint32_t rank = 0;
  uint64_t incarnation = 0;
  uint64_t session = 0;
  bool session_known = true;  // false: known only from the log, until a Hello tells it
  bool fixed = false;         // holds its rank for ever: a member of a FIXED job
  bool restored = false;      // a member before the server's restart; no Hello came since
  State state = State::kLeased;
  bool connected = false;  // its Train stream is open
  bool broken = false;     // its Train stream ended without a word, at broken_at
  absl::Duration broken_at;
  absl::Duration last_heard;
  absl::Duration lease;                   // that it was told last
  absl::Duration lost_at;                 // when it is not alive: since then
  uint64_t step = 0;                      // newest it told of
  absl::Duration progress_age;            // of its trainer, as of the last heartbeat
  std::optional<uint64_t> saved_version;  // the oldest state it keeps; stays over incarnations
  uint32_t resyncs = 0;                   // over all incarnations
  uint32_t abstained_running = 0;
  uint64_t refused = 0;                // payloads; over all incarnations, as the next
  uint64_t sent_step = 0;              // of its newest whole payload
  std::deque<absl::Duration> sent_at;  // its newest whole payloads, a few
  uint64_t payloads_too_large = 0;     // left out by max_norm_factor; over all incarnations
  std::string peer;
  std::string note;  // why it is gone

  bool alive() const { return state == State::kLeased || state == State::kReady; }
};

// Times are those of one Clock.  A server that was stopped, or whose machine slept, holds that
// against nobody: see Expire.  Not thread-safe: the coordinator's lock is around it.
class Membership {
 public:
  // A worker whose stream broke has so long to come back.
  static constexpr absl::Duration kReconnectGrace = absl::Seconds(2);
  static constexpr size_t kMaxAlive = 100000;
  static constexpr size_t kMaxGone = 1024;  // of those that are gone, so many are remembered
  // Expire is called about ten times a second; after a longer pause the server itself was away.
  static constexpr absl::Duration kMaxPause = absl::Seconds(1);

  explicit Membership(const v1::Membership& config) : config_(config) {}

  // The mode stays.  A worker has the longer one of the lease that it was told last and this.
  void Configure(const v1::Membership& config) { config_ = config; }
  // What a worker is told: to be called with every answer to it.
  absl::Duration TellLease(WorkerEntry* worker) const;

  // After the server's restart, the members that the log names: ready, as before, but not
  // connected and with unknown sessions.  Each has one lease from now to come back, and gives way
  // to a Join at once.
  void Restore(absl::Span<const v1::Member> members, absl::Duration now);

  // When step 1 begins, and after Restore, in a FIXED job (else nothing happens): from now on only
  // these, which have joined or were restored, hold ranks.  Returns the others that are alive:
  // they can never become members and should be sent away with CheckMayJoin(id).
  std::vector<WorkerEntry*> Fix(absl::Span<const v1::Member> members);
  // FailedPrecondition: the members are fixed, and this id is none of them.
  absl::Status CheckMayJoin(absl::string_view id) const;

  // Leases a rank: a returning id's own if it is free, else the lowest free one.
  // Idempotent by (id, session).  `replaced` is set when an earlier incarnation of this
  // id, still alive, gave way.  AlreadyExists: the id is alive elsewhere, and connected.
  // ResourceExhausted: kMaxAlive.  FailedPrecondition: CheckMayJoin.
  absl::StatusOr<WorkerEntry*> Join(absl::string_view id, uint64_t session, absl::string_view peer,
                                    absl::Duration now, bool* replaced);

  // In place of Join at a shard after the first: rank and incarnation are those that shard 0 gave.
  // Aborted: a newer incarnation has joined.
  absl::StatusOr<WorkerEntry*> Admit(absl::string_view id, uint64_t session, uint32_t rank,
                                     uint64_t incarnation, absl::string_view peer,
                                     absl::Duration now, bool* replaced);

  // The worker, if this incarnation may still speak.  NotFound: never joined.
  // Aborted: an older incarnation, or it was lost or has left.
  absl::StatusOr<WorkerEntry*> Find(absl::string_view id, uint64_t incarnation);

  // For a Hello that Find has let through.  An unknown session becomes this one; 0, from a client
  // of the first version, tells nothing and is accepted.  Aborted: another process has this
  // incarnation.
  absl::Status Adopt(WorkerEntry* worker, uint64_t session);

  // One more payload of this worker, gone or not, was left out by max_norm_factor.  How many there
  // are of it now; 0 when nothing is known of it.
  uint64_t CountTooLarge(const std::string& id);

  // Null when the rank is free.
  const WorkerEntry* AliveWithRank(uint32_t rank) const;

  // Those whose lease or grace ended by now; their state is already kLost.  When the last call is
  // longer ago than kMaxPause, the time in between counts for nobody.
  std::vector<const WorkerEntry*> Expire(absl::Duration now);
  void Remove(WorkerEntry* worker, WorkerEntry::State state, absl::string_view note);

  // A fixed member that has been gone for longer than membership.lost_timeout_seconds, or null;
  // to be asked after Expire(now).
  const WorkerEntry* LostTooLong(absl::Duration now) const;
  // Ready workers whose trainers have got no further for longer than this, though they are heard.
  std::vector<WorkerEntry*> Stuck(absl::Duration limit);

  // Ready workers in rank order, as a header names them.
  std::vector<v1::Member> ReadyMembers() const;
  // Who is named for the next step: in a FIXED job all fixed members, here or not, with the
  // incarnations they have now; else ReadyMembers().
  std::vector<v1::Member> NextMembers() const;
  // The oldest state that somebody may come back with: of those alive, and of fixed members that
  // are gone.
  std::optional<uint64_t> OldestSaved() const;
  size_t ready() const;
  size_t alive() const;

  const std::map<std::string, WorkerEntry>& workers() const { return workers_; }

 private:
  template <typename Wanted>
  std::vector<v1::Member> MembersThat(Wanted wanted) const;
  uint32_t LowestFreeRank() const;
  void Lease(WorkerEntry* worker, uint64_t session, absl::string_view peer, absl::Duration now);
  void ForgetOldest();
  void ForgivePause(absl::Duration now);

  v1::Membership config_;
  std::map<std::string, WorkerEntry> workers_;  // by id; nodes do not move
  bool fixed_ = false;                          // Fix was called
  absl::Duration now_;                          // the latest that a call has told
  std::optional<absl::Duration> last_expire_;
};

// "joined", "ready", "lost", "left": for status.
absl::string_view StateName(WorkerEntry::State state);

}  // namespace gradwire
