// SPDX-License-Identifier: Apache-2.0
// A round: the collecting of one step's payloads, added in rank order as they come.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/codec/codec.h"
#include "common/replica/job.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

// What a step's header and the replica before it say of its payloads.
struct RoundOptions {
  bool flush = false;                  // Header.next_flush
  bool reset_before = false;           // that header has a new reset_id
  absl::Span<const float> bases = {};  // Replica::bases(); must stay until the next Open
};

// The key of what it takes is (rank, step, block): the first counts, others are
// duplicates.  A block is added once the same block of every lower rank is; until then it
// waits here.  Not thread-safe.
class Round {
 public:
  explicit Round(std::shared_ptr<const Job> job);

  // Forgets everything and waits for these members (in rank order) to send `step`.
  void Open(uint64_t step, absl::Span<const v1::Member> members, const RoundOptions& options = {});

  struct Added {
    uint32_t blocks = 0;
    uint32_t duplicates = 0;
  };
  // Takes one message of a member, whose step must be this round's.  NotFound: not a member.
  // Aborted: another incarnation.  InvalidArgument names worker, step, block, value and limit;
  // the member's payload can then not become complete, so nothing of it will be used.
  absl::StatusOr<Added> Add(uint32_t rank, uint64_t incarnation, const v1::Gradient& message);

  // Leaves a member out, unless its payload is complete (then that stays).  True when
  // sums were thrown away with it: every other member must send this step again.
  bool Drop(uint32_t rank);

  // A member whose payload was good when it came, but overflows the sum now that its turn has
  // come; null when there is none.  It must be dropped: the round waits for that.
  const v1::Member* RefusedMember() const;

  // Every member's payload is in, or it abstained, or was dropped.
  bool complete() const;

  uint64_t step() const { return step_; }
  size_t members() const { return slots_.size(); }  // that it was opened with
  std::vector<v1::Contributor> used() const;        // in rank order
  std::vector<v1::Member> abstained() const;
  bool any_fresh_memory() const;                       // GradientEnd.fresh_memory of a used one
  double loss() const;                                 // mean of the used payloads', by samples
  const v1::Evaluation* evaluation() const;            // the lowest member's, or null
  const v1::GradientEnd* end_of(uint32_t rank) const;  // null until it came
  std::string Missing() const;                         // ids that are waited for

  BlockKey key(size_t block) const;
  const Codec& codec(size_t block) const { return job_->CodecOf(block, options_.flush); }
  bool flush() const { return options_.flush; }
  bool reset_before() const { return options_.reset_before; }
  const Accumulator& sum(size_t block) const { return sums_[block]; }
  size_t blocks() const { return sums_.size(); }

  size_t waiting_bytes() const { return waiting_bytes_; }
  bool HasWaiting(uint32_t rank) const;

 private:
  struct Slot {
    v1::Member member;
    std::vector<bool> got;                    // by block
    size_t blocks = 0;                        // set in got
    size_t summed = 0;                        // of these, added to the sums
    std::map<uint32_t, std::string> waiting;  // by block
    bool ended = false;
    bool skipped = false;   // abstained or dropped: nothing of it is added
    bool departed = false;  // lost after its payload was complete
    bool refused = false;   // a block that had waited cannot be added
    v1::GradientEnd end;

    bool whole() const { return ended && blocks == got.size() && !refused; }
  };

  Slot* Find(uint32_t rank);
  const Slot* Find(uint32_t rank) const;
  absl::Status CheckMessage(const Slot& slot, const v1::Gradient& message) const;
  absl::Status AddBlock(size_t slot_index, const v1::BlockPayload& block);
  void Advance(size_t block);
  void Skip(Slot* slot);
  void ThrowSumsAway();

  const std::shared_ptr<const Job> job_;
  uint64_t step_ = 0;
  RoundOptions options_;
  std::vector<Slot> slots_;        // in rank order
  std::vector<Accumulator> sums_;  // by block
  std::vector<size_t> next_;       // by block: the slot whose payload is added next
  Accumulator scratch_;            // to check a payload that has to wait
  size_t waiting_bytes_ = 0;
};

}  // namespace gradwire
