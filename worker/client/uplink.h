// SPDX-License-Identifier: Apache-2.0
// The worker's way up: a gradient made into messages, and the payload that is held until an
// update says whether it was used.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/hash.h"
#include "common/replica/job.h"
#include "gradwire/v1/gradient.pb.h"
#include "gradwire/v1/service.pb.h"
#include "worker/client/error_memory.h"

namespace gradwire {

// What a worker says about a step beside its gradient.
struct StepReport {
  double loss = 0;  // mean over its samples
  uint64_t samples = 0;
  std::optional<v1::Evaluation> evaluation = std::nullopt;  // when one was due
  // Why the worker abstains, whatever this part of the gradient holds; empty: it decides itself.
  std::string abstain_reason = {};
};

// The step that the newest header opened.
struct OpenStep {
  uint64_t step = 0;
  float learning_rate = 0;
  bool flush = false;                                   // Header.next_flush
  uint32_t members = 1;                                 // of the step
  uint32_t rank = 0;                                    // this worker's
  absl::Span<const float> bases = {};                   // Replica::bases()
  ChainHash base_chain_hash = {};                       // of record step-1
  std::optional<uint64_t> replica_hash = std::nullopt;  // when ReplicaHashDue(job, step)
  // Of a worker that computed its residual again: payloads of this rank by incarnations from this
  // one on have the same bits, and count as its own.
  std::optional<uint64_t> same_bits_from = std::nullopt;
  absl::string_view lead_header = {};  // Gradient.lead_header; empty: none
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

// Not thread-safe.
class Uplink {
 public:
  // Nothing remembered.
  explicit Uplink(std::shared_ptr<const Job> job);

  // Encodes the payload of `open` and holds it.  `gradient` has dimension() values; it is
  // taken as scratch (noise is added where the codec needs it at the worker).  A gradient
  // that is not finite makes the worker abstain: the residual stays, the message says why.
  // InvalidArgument: wrong length.  FailedPrecondition: the payload before is still open.
  absl::Status Encode(const OpenStep& open, absl::Span<float> gradient, const StepReport& report);

  // 0 when nothing is held.
  uint64_t held_step() const { return held_step_; }
  bool abstained() const { return abstained_; }
  // Of the held payload; empty unless abstained().
  absl::string_view abstain_reason() const;

  // The messages of the held payload, to be sent (again) as this member; Resolve then knows
  // the member as this worker.  Valid until the next call of Encode, Resolve or Reset, or for as
  // long as one has held(): they do not change.
  absl::Span<const v1::TrainRequest> Messages(const MemberKey& as);
  std::shared_ptr<const std::vector<v1::TrainRequest>> held() const { return held_; }

  // To be called with the header of every record, in order.  A held payload that this update
  // decides about (it is of its step; ASYNC: it is the one that is answered) and does not use goes
  // back into the residual; another reset_id than before makes the residual zero.
  absl::Status Resolve(uint64_t version, const v1::Header& header);

  // Whether Messages was called with this member for the held payload.
  bool SentAs(const MemberKey& member) const;
  // The held payload goes back into the residual: it was sent as a member that may no longer speak.
  absl::Status Withdraw();

  // Residual zero, nothing held: the replica took another way than by the updates.  With the
  // reset_id of the newest header, if there is one.
  void Reset(std::optional<uint64_t> reset_id = std::nullopt);

  absl::Span<const float> residual() const { return memory_.residual(); }
  bool remembers() const { return memory_.remembers(); }

  // What a file keeps.  FailedPrecondition while a payload is held: what it took from the residual
  // is not in there.
  struct Contents {
    uint64_t reset_id = 0;  // of the newest header
    ErrorMemory::Contents memory = {};
  };
  absl::StatusOr<Contents> contents() const;
  // Then nothing is held.  InvalidArgument when it does not fit the job, with nothing changed.
  absl::Status Load(Contents contents);

 private:
  v1::Gradient* NewMessage(const OpenStep& open);
  void AddNoise(uint64_t step, absl::Span<float> gradient) const;
  std::string WhatIsNotFinite(const OpenStep& open, absl::Span<const float> gradient);
  std::string Prepare(const OpenStep& open, absl::Span<float> gradient);
  void EncodeBlocks(const OpenStep& open, absl::Span<float> gradient);
  bool IsAnswered(uint64_t version, const v1::Header& header) const;
  using Contributors = google::protobuf::RepeatedPtrField<v1::Contributor>;
  bool Names(const Contributors& contributors) const;  // the held payload's sender
  absl::Status TakeBack();
  BlockKey KeyOf(uint64_t step, uint32_t block) const;  // of the held payload
  void Drop();

  const std::shared_ptr<const Job> job_;
  ErrorMemory memory_;
  std::optional<uint64_t> reset_id_;  // of the newest header; none before the first

  uint64_t held_step_ = 0;
  bool abstained_ = false;
  bool held_flush_ = false;
  std::vector<float> held_bases_;
  std::shared_ptr<std::vector<v1::TrainRequest>> held_;  // never null
  uint32_t held_rank_ = 0;
  std::optional<uint64_t> same_bits_from_;
  std::vector<MemberKey> sent_as_;
};

}  // namespace gradwire
