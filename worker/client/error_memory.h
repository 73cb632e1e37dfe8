// SPDX-License-Identifier: Apache-2.0
// What a worker remembers of gradients it could not send whole, and the encoding around it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/zeroed_floats.h"
#include "common/codec/codec.h"
#include "common/replica/job.h"

namespace gradwire {

// By block, as its plan says, g being the gradient (with noise, and the codec's momentum):
//
//   none       send C(u g)
//   classic    p = e + u g; send c = C(p); e = p - c              (Seide et al. 2014)
//   ef21       send c = C(g - h); h += c                          (Richtarik et al. 2021)
//   ef21_sgdm  v = (1 - beta) v + beta g; send c = C(v - h); h += c   (Fatkhullin et al. 2023)
//
// u is the learning rate where payloads are in update units, else 1; v is g at the first step
// after a reset.  A flush sends p of the classic blocks as it is.  Not thread-safe.
class ErrorMemory {
 public:
  explicit ErrorMemory(std::shared_ptr<const Job> job);

  // The first coordinate of the gradient that is not finite, or would not be together with
  // what is remembered; or dimension().  u of each block's plan.  To be asked before Encode, for
  // the gradient that is encoded: mostly it reads nothing but that.
  size_t FirstNonFinite(float learning_rate, absl::Span<const float> gradient);

  // Turns a finite gradient into what is encoded: the codecs' momenta, where there are any.
  bool averages() const { return !momentum_.empty(); }
  void Prepare(const WorkerStep& step, absl::Span<float> gradient);

  // Of one block.  `key` has rank, unit and basis; `gradient` is the block's, taken as scratch.
  void Encode(const BlockKey& key, bool flush, absl::Span<float> gradient, std::string* payload);

  // The server did not use the block's payload.
  absl::Status TakeBack(const BlockKey& key, bool flush, absl::string_view payload);

  void Reset();
  bool fresh() const { return fresh_; }  // nothing was sent since the last reset

  // e or h: dimension() values, or none when no block remembers anything.
  absl::Span<const float> residual() const { return memory_.span(); }
  // Whether there is anything to remember: a residual or a momentum, of any block.
  bool remembers() const { return !memory_.empty() || !momentum_.empty(); }

  // All that is remembered, for a file; what Load takes back is the same memory, bit for bit.
  struct Contents {
    bool fresh = true;
    std::vector<float> residual = {};
    std::vector<float> momentum = {};
  };
  Contents contents() const;
  // InvalidArgument when sizes do not fit the job or a value is not finite; nothing has changed.
  absl::Status Load(Contents contents);

 private:
  absl::Span<float> BlockOf(absl::Span<float> values, size_t block) const;
  bool SurelyFinite(float learning_rate, absl::Span<const float> gradient);
  size_t SearchNonFinite(float learning_rate, absl::Span<const float> gradient) const;
  // u g of the gradient: what is encoded where nothing is remembered.
  absl::Span<float> Scaled(float unit, absl::Span<const float> gradient);
  void EncodeDifference(const BlockKey& key, absl::Span<float> gradient, std::string* payload);

  const std::shared_ptr<const Job> job_;
  ZeroedFloats memory_;
  std::vector<float> momentum_;  // of codecs, and v of ef21_sgdm
  std::vector<bool> zero_;       // by block: all of its memory_ is 0
  std::vector<float> scaled_;    // scratch
  bool fresh_ = true;            // no step since the last reset
  float bound_ = 0;              // no magnitude in memory_ is above it
  float reach_ = 0;              // nor, with the gradient last asked about, above this
};

}  // namespace gradwire
