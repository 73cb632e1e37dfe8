// SPDX-License-Identifier: Apache-2.0
// The rounds of an ASYNC job: one a member, each for a payload of its own step, which makes an
// update alone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/replica/job.h"
#include "gradwire/v1/gradient.pb.h"
#include "server/round.h"

namespace gradwire {

// A member has at most one payload on its way.  What came of it is kept while updates of others
// go by, in memory that is bounded by members times the sums of one payload.  Not thread-safe.
class AsyncRounds {
 public:
  explicit AsyncRounds(std::shared_ptr<const Job> job) : job_(std::move(job)) {}

  // The newest header says who may send, and what has been answered.  What another incarnation
  // had sent is forgotten: it takes that back when it reads this header.
  void Open(const v1::Header& header);

  // Takes one message of a member, as Round::Add does.  Of a payload that was answered, or of an
  // older step than the one that is under way, all blocks are duplicates; a newer step's takes the
  // place of one that is not complete.  NotFound: not a member.
  absl::StatusOr<Round::Added> Add(uint32_t rank, uint64_t incarnation,
                                   const v1::Gradient& message);

  // That payload was answered already; also true of step 0, which none has.  It may come again
  // before its worker has read the answer, and its version need not be on the log any more.
  bool Answered(uint32_t rank, uint64_t step) const;

  // The payload (or abstention) that was complete first; null while there is none.
  const Round* Complete() const;

  // The member is gone or starts over: what has come of it is forgotten.
  void Drop(uint32_t rank);

  // Null: not a member.
  const v1::Member* member(uint32_t rank) const;
  uint64_t lowest_clock() const;  // of all members; 0 without any
  // No payload that may still come was computed at an older version; `version` is the newest.
  uint64_t oldest_base(uint64_t version) const;
  std::string Missing() const;  // ids whose payload is not complete

 private:
  struct Lane {
    v1::Member member;
    std::unique_ptr<Round> round;  // null: nothing has come since the last answer
    uint64_t completed = 0;        // place in the order of completion; 0: it is not
  };

  const std::shared_ptr<const Job> job_;
  std::map<uint32_t, Lane> lanes_;  // by rank
  uint64_t completed_ = 0;
};

// A payload that `before` updates have come since its parameters weighs 1/members, and less when
// these are more than one of each other member: 1/members * min(1, members / (1 + before)).
float AsyncWeight(uint64_t before, size_t members);

// How many updates can come before a payload's own, when all members stay: (2 max_lead + 1) each
// of the others.
uint64_t MaxStaleness(uint64_t max_lead, size_t members);

}  // namespace gradwire
