// SPDX-License-Identifier: Apache-2.0
// What all codecs have in common.
#include "common/codec/codec.h"

#include <cstdlib>

#include "common/base/status_macros.h"
#include "common/kernels/vector.h"

namespace gradwire {

absl::Status DecodePayload(const Codec& codec, const BlockKey& key, absl::string_view payload,
                           BlockValues* values) {
  Accumulator sum;
  GRADWIRE_RETURN_IF_ERROR(codec.Accumulate(key, payload, &sum));
  codec.Mean(key, sum, values);
  return absl::OkStatus();
}

void Codec::AddAndEncode(const BlockKey& key, absl::Span<const float> gradient,
                         absl::Span<float> residual, std::string* payload) const {
  AddScaled(key.unit, gradient.data(), residual.data(), residual.size());
  Encode(key, residual, payload);
}

absl::Status Codec::CheckUpdate(const BlockKey& key, absl::string_view payload,
                                BlockValues* scratch) const {
  return DecodeUpdate(key, payload, scratch);
}

void Codec::LoadUpdate(const BlockKey& key, absl::string_view payload, BlockValues* update) const {
  // CheckUpdate has taken the same bytes, and a codec is a function of them.
  if (!DecodeUpdate(key, payload, update).ok()) std::abort();
}

}  // namespace gradwire
