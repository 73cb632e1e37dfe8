// SPDX-License-Identifier: Apache-2.0
// A round: the collecting of one step's payloads, added in rank order: as they come, or, where a
// quorum decides, when it is closed; or kept one by one for the job's aggregator.
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
  bool keep_payloads = false;          // Job::keeps_payloads(): nothing is before CloseWithWhole
};

// The key of what it takes is (rank, step, block): the first counts, others are
// duplicates.  A block is added once the same block of every lower rank is; until then it
// waits here.  With keep_payloads all of them are checked when they come and wait until
// CloseWithWhole.  The order of addition is that of ranks either way.  Where the job has an
// aggregator nothing is ever added: payloads() has what it combines.  Not thread-safe.
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
  // Aborted: another incarnation than the member's (since Replace: than the one named there).
  // InvalidArgument names worker, step, block, value and limit; the member's payload can then not
  // become complete, so nothing of it will be used.
  absl::StatusOr<Added> Add(uint32_t rank, uint64_t incarnation, const v1::Gradient& message);

  // Leaves a member out, unless its payload is complete (then that stays).  True when
  // sums were thrown away with it: every other member must send this step again.  Never so with
  // keep_payloads: what was kept is added again.
  bool Drop(uint32_t rank);

  // Where a lost member is waited for, not dropped: from now on this newer incarnation speaks for
  // the rank.  What the older one had sent of an unfinished payload is forgotten.  True when sums
  // held some of it and were thrown away: all others must send this step again.  A complete
  // payload and an abstention stay the older one's, and used() and abstained() name it; what the
  // newer one then sends are duplicates.  Nothing happens for a rank that is no member, or an
  // incarnation that is no newer one.
  bool Replace(uint32_t rank, uint64_t incarnation);
  // The same for an incarnation that computes the step again: what came of an unfinished payload
  // is forgotten.
  bool Restart(uint32_t rank);

  // With keep_payloads, once: leaves out every member whose payload is not complete, then those
  // whose payload is too large (JobConfig.max_norm_factor), and adds the others' in rank order.
  // Then complete() holds, unless there is a RefusedMember(); when that is dropped the others are
  // added again.
  void CloseWithWhole();

  // A member whose payload was good when it came, but overflows the sum now that its turn has
  // come; null when there is none.  It must be dropped: the round waits for that.
  const v1::Member* RefusedMember() const;

  // Every member's payload is in, or it abstained, or was dropped; with keep_payloads,
  // CloseWithWhole must have been called too.
  bool complete() const;
  size_t arrived() const;  // members whose payload is complete, or that abstained
  size_t awaited() const;  // members that are neither arrived nor left out

  uint64_t step() const { return step_; }
  size_t members() const { return slots_.size(); }  // that it was opened with
  std::vector<v1::Contributor> used() const;        // in rank order
  std::vector<v1::Member> abstained() const;
  // Whom CloseWithWhole left out as too large, in rank order.
  struct TooLarge {
    v1::Member member;
    double norm = 0;
    double median = 0;  // of the step's norms
  };
  std::vector<TooLarge> too_large() const { return too_large_; }
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
  // Where payloads are kept, of a complete round: the used members' of a block, in rank order, good
  // until the next Open; and, where the job looks at them, the norms of their whole payloads.
  std::vector<absl::string_view> payloads(size_t block) const;
  std::vector<double> norms() const;
  size_t blocks() const { return sums_.size(); }

  // With keep_payloads all payloads wait, up to members times the bytes of one, until the next
  // Open; pausing streams by HasWaiting would then stop the round: do not.
  size_t waiting_bytes() const { return waiting_bytes_; }
  bool HasWaiting(uint32_t rank) const;

 private:
  struct Slot {
    v1::Member member;
    uint64_t speaker = 0;                     // the incarnation whose messages are taken
    std::vector<bool> got;                    // by block
    size_t blocks = 0;                        // set in got
    size_t summed = 0;                        // of these, added to the sums
    std::map<uint32_t, std::string> waiting;  // by block
    bool ended = false;
    bool skipped = false;         // abstained or dropped: nothing of it is added
    bool departed = false;        // lost after its payload was complete
    bool refused = false;         // a block that had waited cannot be added
    std::vector<double> squares;  // by block, the sum of its values' squares; of looks_at_norms()
    v1::GradientEnd end;

    double norm() const;

    bool all_came() const { return ended && blocks == got.size(); }
    bool whole() const { return all_came() && !refused; }
    bool arrived() const { return skipped ? end.abstained() : whole(); }
    bool awaited() const { return !skipped && !whole(); }
    // Nothing that comes now counts: it is left out, or an older incarnation has sent it all.
    bool settled() const { return skipped || (all_came() && speaker != member.incarnation()); }
  };

  Slot* Find(uint32_t rank);
  const Slot* Find(uint32_t rank) const;
  absl::Status CheckMessage(const Slot& slot, const v1::Gradient& message) const;
  absl::Status AddBlock(size_t slot_index, const v1::BlockPayload& block);
  void Advance(size_t block);
  void AdvanceAll();
  void Skip(Slot* slot);
  void DropWaiting(Slot* slot);
  void Forget(Slot* slot);  // what came of its payload: `speaker` sends it again
  void ClearSums();
  void ThrowSumsAway();
  void AddKeptAgain();
  void Measure(uint32_t block, Slot* slot);  // what scratch_ holds
  void LeaveOutTooLarge();
  // The sums are not made yet.
  bool keeps() const { return options_.keep_payloads && !closed_; }
  bool adds() const { return job_->aggregator == nullptr && !keeps(); }

  const std::shared_ptr<const Job> job_;
  uint64_t step_ = 0;
  RoundOptions options_;
  std::vector<Slot> slots_;        // in rank order
  std::vector<Accumulator> sums_;  // by block
  std::vector<size_t> next_;       // by block: the slot whose payload is added next
  Accumulator scratch_;            // to check a payload that has to wait
  BlockValues measured_;           // scratch
  std::vector<TooLarge> too_large_;
  size_t waiting_bytes_ = 0;
  bool any_refused_ = false;          // of slots, since Open
  mutable size_t first_awaited_ = 0;  // no slot before it is awaited
  bool closed_ = false;               // by CloseWithWhole
};

}  // namespace gradwire
