// SPDX-License-Identifier: Apache-2.0
// What top_k, threshold and dgc share: payloads of coordinates and their values, whose sum is a
// union.
//
//   payload = indices values        ; up: what the worker chose; down: all that any payload named
//   indices = see index_coding.h
//   values  = *( fp32 / bf16 / fp16 )     ; the parameter `values`: one for each coordinate that
//                                         ; indices names, in ascending order
//
// In a dense payload of a worker, coordinates that it did not choose are zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/codec/codec.h"
#include "common/codec/index_coding.h"
#include "common/codec/value_format.h"

namespace gradwire {

// A codec that says only which coordinates are sent.
class SparseCodec : public Codec {
 public:
  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const final;
  absl::Status Accumulate(const BlockKey& key, absl::string_view payload,
                          Accumulator* sum) const final;
  void Mean(const BlockKey& key, const Accumulator& sum, BlockValues* mean) const final;
  void EncodeUpdate(const BlockKey& key, const BlockValues& mean, std::string* payload) const final;
  absl::Status DecodeUpdate(const BlockKey& key, absl::string_view payload,
                            BlockValues* update) const final;

 protected:
  // How many coordinates a worker's payload may name.
  struct CountRange {
    size_t least = 0;
    size_t most = 0;
  };

  // `name` is for messages.
  SparseCodec(const char* name, ValueFormat format) : name_(name), format_(format) {}

  // Fills `*indices` with what is to be sent of `values`: ascending, as many as Counts() allows.
  virtual void Select(const BlockKey& key, absl::Span<const float> values,
                      std::vector<uint32_t>* indices) const = 0;
  virtual CountRange Counts(const BlockKey& key) const = 0;

  // A payload taken apart; `values` points into it.
  struct Parts {
    DecodedIndices where;
    absl::string_view values;
  };
  absl::Status Split(const BlockKey& key, absl::string_view payload, Parts* parts) const;

  ValueFormat format() const { return format_; }

 private:
  absl::Status CheckCount(const BlockKey& key, const DecodedIndices& where) const;
  absl::Status AddDense(const BlockKey& key, const Parts& parts, Accumulator* sum) const;
  absl::Status AddSparse(const BlockKey& key, const Parts& parts, Accumulator* sum) const;
  absl::Status Refuse(const Parts& parts, const EncodedValues& values, size_t i, float sum) const;

  const char* const name_;
  const ValueFormat format_;
};

}  // namespace gradwire
