// SPDX-License-Identifier: Apache-2.0
// For codecs whose payload says something of every coordinate: the sum over workers is
// dense, in fp32, and goes down as it is unless the job compresses it again.
//
//   update = n fp32           ; n the block's size; coordinate 0 first
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/codec/codec.h"

namespace gradwire {

// Payloads are decoded in runs of so many coordinates: they stay in the first-level cache, and
// begin at a whole byte for codes of any width in bits and for five ternary digits a byte.
inline constexpr size_t kDenseRun = 1280;

// A codec says how to encode, and in Check and DecodeRun how to read.
class DenseAggregateCodec : public Codec {
 public:
  absl::Status Accumulate(const BlockKey& key, absl::string_view payload,
                          Accumulator* sum) const final;
  void Mean(const BlockKey& key, const Accumulator& sum, BlockValues* mean) const final;
  void EncodeUpdate(const BlockKey& key, const BlockValues& mean, std::string* payload) const final;
  absl::Status DecodeUpdate(const BlockKey& key, absl::string_view payload,
                            BlockValues* update) const final;
  absl::Status CheckUpdate(const BlockKey& key, absl::string_view payload,
                           BlockValues* scratch) const final;
  void LoadUpdate(const BlockKey& key, absl::string_view payload, BlockValues* update) const final;

 protected:
  // For Encode: values -= what `payload`, which stands for all of them, says.
  void KeepRest(const BlockKey& key, absl::string_view payload, absl::Span<float> values) const;

 private:
  virtual absl::string_view name() const = 0;

  // Refuses with InvalidArgument what DecodeRun cannot read.  Values that are not finite may
  // pass: Accumulate refuses them.
  virtual absl::Status Check(const BlockKey& key, absl::string_view payload) const = 0;

  // out[i] = the value of coordinate first + i, of a payload that Check has taken.  `first` is a
  // multiple of kDenseRun; `out` has at most so many.
  virtual void DecodeRun(const BlockKey& key, absl::string_view payload, size_t first,
                         absl::Span<float> out) const = 0;

  float MaxDecoded(const BlockKey& key, absl::string_view payload) const;
  absl::Status CheckValues(const BlockKey& key, absl::string_view payload,
                           const Accumulator& sum) const;
};

}  // namespace gradwire
