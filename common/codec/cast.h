// SPDX-License-Identifier: Apache-2.0
// What bf16 and fp16 share: every coordinate in a 16-bit format, up and down.
//
//   payload = n value         ; up and down, n the block's size; coordinate 0 first
//   value   = bf16 / fp16     ; see value_format.h
//
// Sums are fp32; the aggregate is rounded once to the same format.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/codec/codec.h"
#include "common/codec/value_format.h"

namespace gradwire {

class Cast final : public Codec {
 public:
  // `name` is for messages.
  Cast(const char* name, v1::CodecId id, ValueFormat format)
      : name_(name), id_(id), format_(format) {}

  v1::CodecId id() const override { return id_; }
  CodecTraits traits() const override { return {.alone = Alone::kCoordinates}; }

  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const override;
  absl::Status Accumulate(const BlockKey& key, absl::string_view payload,
                          Accumulator* sum) const override;
  void Mean(const BlockKey& key, const Accumulator& sum, BlockValues* mean) const override;
  void EncodeUpdate(const BlockKey& key, const BlockValues& mean,
                    std::string* payload) const override;
  absl::Status DecodeUpdate(const BlockKey& key, absl::string_view payload,
                            BlockValues* update) const override;

 private:
  absl::Status CheckLength(const BlockKey& key, absl::string_view payload) const;
  absl::Status Refuse(const EncodedValues& values, size_t i, const Accumulator* sum) const;

  const char* const name_;
  const v1::CodecId id_;
  const ValueFormat format_;
};

}  // namespace gradwire
