// SPDX-License-Identifier: Apache-2.0
// The worker's way up: error feedback around the job's codec, and the payload that
// is held until an update says whether it was used.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/base/hash.h"
#include "common/replica/job.h"
#include "gradwire/v1/gradient.pb.h"
#include "gradwire/v1/service.pb.h"

namespace gradwire {

// What a worker says about a step beside its gradient.
struct StepReport {
  double loss = 0;  // mean over its samples
  uint64_t samples = 0;
  std::optional<v1::Evaluation> evaluation = std::nullopt;  // when one was due
};

// The step that the newest header opened.
struct OpenStep {
  uint64_t step = 0;
  float learning_rate = 0;
  ChainHash base_chain_hash = {};                       // of record step-1
  std::optional<uint64_t> replica_hash = std::nullopt;  // when ReplicaHashDue(job, step)
};

// Whether the payload of `step` carries the hash of the replica at version step-1.
bool ReplicaHashDue(const Job& job, uint64_t step);

// A worker's place in a step's header.
struct MemberKey {
  uint32_t rank = 0;
  uint64_t incarnation = 0;
  friend bool operator==(const MemberKey& a, const MemberKey& b) {
    return a.rank == b.rank && a.incarnation == b.incarnation;
  }
};

// Error feedback (Seide et al. 2014; Stich et al. 2018): p = residual + gradient,
// send C(p), residual = p - C(p), in the units of the job's optimizer.  Not thread-safe.
class Uplink {
 public:
  // Residual zero.
  explicit Uplink(std::shared_ptr<const Job> job);

  // Encodes the payload of `open` and holds it.  `gradient` has dimension() values; it is
  // taken as scratch (noise is added where the codec needs it at the worker).  A gradient
  // that is not finite makes the worker abstain: the residual stays, the message says why.
  // InvalidArgument: wrong length.  FailedPrecondition: the payload before is still open.
  absl::Status Encode(const OpenStep& open, absl::Span<float> gradient, const StepReport& report);

  // 0 when nothing is held.
  uint64_t held_step() const { return held_step_; }
  bool abstained() const { return abstained_; }

  // The messages of the held payload, to be sent (again) as this member; Resolve then knows
  // the member as this worker.  Valid until the next call of Encode, Resolve or Reset.
  absl::Span<const v1::TrainRequest> Messages(const MemberKey& as);

  // To be called with the header of every record, in order.  A held payload of that step
  // which the update did not use goes back into the residual; another reset_id than
  // before makes the residual zero.
  absl::Status Resolve(uint64_t version, const v1::Header& header);

  // Residual zero, nothing held: the replica took another way than by the updates.
  void Reset();

  absl::Span<const float> residual() const { return residual_; }

 private:
  v1::Gradient* NewMessage(const OpenStep& open);
  std::string AddNoiseAndCheck(const OpenStep& open, float scale, absl::Span<float> gradient) const;
  void EncodeBlocks(const OpenStep& open, float scale, absl::Span<const float> gradient);
  bool WasUsed(const v1::Header& header) const;
  absl::Status TakeBack();
  BlockKey KeyOf(uint64_t step, uint32_t block) const;
  void Drop();

  const std::shared_ptr<const Job> job_;
  std::vector<float> residual_;
  std::optional<uint64_t> reset_id_;  // of the newest header; none before the first

  uint64_t held_step_ = 0;
  bool abstained_ = false;
  std::vector<v1::TrainRequest> held_;
  std::vector<MemberKey> sent_as_;
};

}  // namespace gradwire
