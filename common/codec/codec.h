// SPDX-License-Identifier: Apache-2.0
// What a codec is: the interface that every compressor implements in one file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

// A payload's place in a job.  Everything random in it is a function of this.
struct BlockKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  uint32_t block = 0;
  size_t size = 0;  // coordinates in the block
};

// One block's values after decoding.  Dense: indices is empty and values has
// the block's size.  Sparse: values[i] belongs to coordinate indices[i] of the
// block, indices ascending; coordinates not named are zero.
struct BlockValues {
  bool dense = false;
  std::vector<uint32_t> indices;
  std::vector<float> values;
};

// The running sum of one block over the payloads of a round, in fp32.  What
// sums holds is the codec's own business.
struct Accumulator {
  uint32_t payloads = 0;  // added so far
  std::vector<float> sums;
  std::vector<uint64_t> touched;  // bitmap over coordinates, codecs with a union only

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

  // True when what is kept of a block does not depend on its values: then noise
  // may be drawn late, at the server, for the coordinates that are sent.
  virtual bool linear() const = 0;

  // Encodes `values` (residual + gradient, all finite, key.size of them) into
  // `*payload`, and leaves in `values` the residual: values - decoded(payload).
  virtual void Encode(const BlockKey& key, absl::Span<float> values,
                      std::string* payload) const = 0;

  // *sum += decoded(payload); the first payload of a round overwrites it.
  virtual absl::Status Accumulate(const BlockKey& key, absl::string_view payload,
                                  Accumulator* sum) const = 0;

  // sum / float(sum.payloads), one division a coordinate.  sum.payloads > 0.
  virtual void Mean(const BlockKey& key, const Accumulator& sum, BlockValues* mean) const = 0;

  // The aggregate as every replica will read it: values are rounded to the
  // value format here, once.  At most 4 * key.size + 64 bytes.
  virtual void EncodeUpdate(const BlockKey& key, const BlockValues& mean,
                            std::string* payload) const = 0;

  virtual absl::Status DecodeUpdate(const BlockKey& key, absl::string_view payload,
                                    BlockValues* update) const = 0;

  // The longest payload, up or down, that a block of so many coordinates can have.
  virtual size_t MaxPayloadBytes(size_t block_size) const { return 4 * block_size + 64; }
};

}  // namespace gradwire
