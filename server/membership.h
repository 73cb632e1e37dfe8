// SPDX-License-Identifier: Apache-2.0
// Who works on the job: leases, ranks and incarnations, and who is waited for.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
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
  State state = State::kLeased;
  bool connected = false;  // its Train stream is open
  bool broken = false;     // its Train stream ended without a word, at broken_at
  absl::Duration broken_at;
  absl::Duration last_heard;
  uint64_t step = 0;     // newest it told of
  uint32_t resyncs = 0;  // over all incarnations
  uint32_t abstained_running = 0;
  std::string peer;
  std::string note;  // why it is gone

  bool alive() const { return state == State::kLeased || state == State::kReady; }
};

// Times are those of one Clock.  Not thread-safe: the coordinator's lock is around it.
class Membership {
 public:
  // A worker whose stream broke has so long to come back.
  static constexpr absl::Duration kReconnectGrace = absl::Seconds(2);
  static constexpr size_t kMaxAlive = 100000;
  static constexpr size_t kMaxGone = 1024;  // of those that are gone, so many are remembered

  explicit Membership(const v1::Membership& config) : config_(config) {}

  // Leases a rank: a returning id's own if it is free, else the lowest free one.
  // Idempotent by (id, session).  `replaced` is set when an earlier incarnation of this
  // id, still alive, gave way.  AlreadyExists: the id is alive elsewhere, and connected.
  // ResourceExhausted: kMaxAlive.
  absl::StatusOr<WorkerEntry*> Join(absl::string_view id, uint64_t session, absl::string_view peer,
                                    absl::Duration now, bool* replaced);

  // The worker, if this incarnation may still speak.  NotFound: never joined.
  // Aborted: an older incarnation, or it was lost or has left.
  absl::StatusOr<WorkerEntry*> Find(absl::string_view id, uint64_t incarnation);

  // Null when the rank is free.
  const WorkerEntry* AliveWithRank(uint32_t rank) const;

  // Those whose lease or grace ended by now; their state is already kLost.
  std::vector<const WorkerEntry*> Expire(absl::Duration now);
  void Remove(WorkerEntry* worker, WorkerEntry::State state, absl::string_view note);

  // Ready workers in rank order, as a header names them.
  std::vector<v1::Member> ReadyMembers() const;
  size_t ready() const;
  size_t alive() const;

  const std::map<std::string, WorkerEntry>& workers() const { return workers_; }

 private:
  uint32_t LowestFreeRank() const;
  void ForgetOldest();

  const v1::Membership config_;
  std::map<std::string, WorkerEntry> workers_;  // by id; nodes do not move
};

// "joined", "ready", "lost", "left": for status.
absl::string_view StateName(WorkerEntry::State state);

}  // namespace gradwire
