// SPDX-License-Identifier: Apache-2.0
// What a codec is: the interface that every compressor implements in one file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

// The rank of who encodes, when it is the server: see BlockKey.rank.
inline constexpr uint32_t kServerRank = 0xFFFFFFFF;

// A payload's place in a job.  Everything random in it is a function of this.
struct BlockKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  uint32_t block = 0;
  size_t size = 0;     // coordinates in the block
  size_t columns = 0;  // above 0: the block is size / columns whole rows of a matrix

  // What every replica holds for the block before this step: Codec::basis_size() values.
  // All zero at the job's start.
  absl::Span<const float> basis = {};

  // For Encode only.
  uint32_t rank = kServerRank;  // whose payload: random numbers that workers must not share
  float unit = 1;  // of the values: the learning rate when they are in update units, else 1

  // Where a shard has only some of the job's blocks, the number in the whole job of its block 0.
  uint32_t first = 0;
  // In the whole job: what random numbers are drawn for.
  uint32_t number() const { return first + block; }
};

// What happens to the part of a gradient that a payload leaves out.
enum class Feedback {
  kNone,      // it is lost
  kClassic,   // it stays in a residual (Seide et al. 2014)
  kEf21,      // payloads are differences of gradients (Richtarik, Sokolov, Fatkhullin 2021)
  kEf21Sgdm,  // the same of averaged gradients (Fatkhullin, Tyurin, Richtarik 2023)
};

// What one payload says without the others of its step, and so what an aggregator can do with it.
enum class Alone {
  kNothing,      // votes, sketches, factors: not of the coordinates, or of the same size whatever
                 // the gradient
  kVector,       // a vector that may be scaled; its coordinates are the payload's own choice, or
                 // right only on average or with the residual
  kCoordinates,  // nearly the member's own values, of coordinates that are the same for all members
};

// What the parts around a codec must know of it.
struct CodecTraits {
  bool linear = false;    // what is kept does not depend on the values: noise may be drawn late,
                          // at the server, for the coordinates that are sent
  bool lossless = false;  // a payload leaves no residual; an unused one becomes it
  Alone alone = Alone::kVector;
  Feedback feedback = Feedback::kClassic;  // what error_feedback "auto" means
  bool only_its_feedback = false;          // any other is refused
  bool compact = true;        // an aggregate needs about the bytes of a payload: downlink "auto"
                              // sends it as it is, otherwise compresses it again
  bool unit_free = false;     // decoded values do not grow with the input's: always gradient units
  bool matrix = false;        // a tensor is its segment, a block has whole rows of it
  bool momentum = false;      // the worker keeps a vector of the block's size for Prepare and Sent
  bool needs_norm = false;    // Prepare wants the norm of the worker's whole gradient
  double kept_at_random = 1;  // share of coordinates sent when drawn without a look at the values
};

// A worker's step, for Codec::Prepare.
struct WorkerStep {
  uint32_t members = 1;      // of the step
  double gradient_norm = 0;  // of the worker's whole gradient, when traits().needs_norm
};

// One block's values after decoding.  Dense: indices is empty and values has
// the block's size.  Sparse: values[i] belongs to coordinate indices[i] of the
// block, indices ascending; coordinates not named are zero.
struct BlockValues {
  bool dense = false;
  std::vector<uint32_t> indices;
  std::vector<float> values;
};

// The running sum of one block over the payloads of a round.  What it holds is
// the codec's own business; usually fp32 sums by coordinate.
struct Accumulator {
  uint32_t payloads = 0;  // added so far
  std::vector<float> sums;
  std::vector<uint64_t> bits;  // a bitmap of touched coordinates, planes of vote counters
  // No magnitude in sums is above it: a payload that cannot overflow them needs no look at them.
  float bound = std::numeric_limits<float>::infinity();

  void Clear() { payloads = 0; }  // keeps the memory: the next first payload overwrites it
};

// Holds no state: any method may be called from any thread.
//
// Payloads come from the network: Accumulate and DecodeUpdate take any byte
// string and either take it in full or refuse it with InvalidArgument, naming
// coordinate, value and limit, with nothing changed.  NaN and Inf are refused.
class Codec {
 public:
  virtual ~Codec() = default;

  virtual v1::CodecId id() const = 0;

  virtual CodecTraits traits() const = 0;

  // At the worker, before the residual is added, when traits().momentum: turns the gradient
  // into what is to be sent.  `momentum` is zero at first.  What is finite stays finite.
  virtual void Prepare(const BlockKey& /*key*/, const WorkerStep& /*step*/,
                       absl::Span<float> /*gradient*/, absl::Span<float> /*momentum*/) const {}

  // At the worker, after Encode, with the payload of the same key: momentum that is sent is gone.
  virtual void Sent(const BlockKey& /*key*/, absl::string_view /*payload*/,
                    absl::Span<float> /*momentum*/) const {}

  // Encodes `values` (residual + gradient, all finite, key.size of them) into
  // `*payload`, and leaves in `values` the residual: values - decoded(payload).  A codec that
  // allows no feedback, or is lossless, may leave anything there.
  virtual void Encode(const BlockKey& key, absl::Span<float> values,
                      std::string* payload) const = 0;

  // residual += key.unit * gradient, and then Encode of it: in one pass over memory where the codec
  // can.  All of it is finite.
  virtual void AddAndEncode(const BlockKey& key, absl::Span<const float> gradient,
                            absl::Span<float> residual, std::string* payload) const;

  // *sum += decoded(payload); the first payload of a round overwrites it.
  virtual absl::Status Accumulate(const BlockKey& key, absl::string_view payload,
                                  Accumulator* sum) const = 0;

  // sum / float(sum.payloads), one division a coordinate.  sum.payloads > 0.
  virtual void Mean(const BlockKey& key, const Accumulator& sum, BlockValues* mean) const = 0;

  // The aggregate, at the server.  `state` is what the server keeps for the block:
  // server_state_size() values, zero at first and after a reset.
  virtual size_t server_state_size(const BlockKey& /*key*/) const { return 0; }
  virtual void Aggregate(const BlockKey& key, const Accumulator& sum, absl::Span<float> /*state*/,
                         BlockValues* mean) const {
    Mean(key, sum, mean);
  }

  // The aggregate as every replica will read it: values are rounded to the
  // value format here, once.  At most 4 * key.size + 64 bytes.
  virtual void EncodeUpdate(const BlockKey& key, const BlockValues& mean,
                            std::string* payload) const = 0;

  virtual absl::Status DecodeUpdate(const BlockKey& key, absl::string_view payload,
                                    BlockValues* update) const = 0;
  // The two halves of DecodeUpdate, for who must check all blocks before the first is applied:
  // what it refuses, and then the reading of what was not refused.
  virtual absl::Status CheckUpdate(const BlockKey& key, absl::string_view payload,
                                   BlockValues* scratch) const;
  virtual void LoadUpdate(const BlockKey& key, absl::string_view payload,
                          BlockValues* update) const;

  // What every replica keeps for the block (BlockKey.basis), and how an update changes it;
  // `payload` is one that DecodeUpdate has taken with this key.  `next` may not be key.basis.
  virtual size_t basis_size(const BlockKey& /*key*/) const { return 0; }
  virtual void NextBasis(const BlockKey& /*key*/, absl::string_view /*payload*/,
                         absl::Span<float> /*next*/) const {}

  // The longest payload, up or down, that a block of so many coordinates can have.
  virtual size_t MaxPayloadBytes(size_t block_size) const { return 4 * block_size + 64; }
};

// What one payload stands for, alone: Accumulate into nothing, then Mean.
absl::Status DecodePayload(const Codec& codec, const BlockKey& key, absl::string_view payload,
                           BlockValues* values);

}  // namespace gradwire
