// SPDX-License-Identifier: Apache-2.0
// What all codecs have in common.
#include "common/codec/codec.h"

#include "common/base/status_macros.h"

namespace gradwire {

absl::Status DecodePayload(const Codec& codec, const BlockKey& key, absl::string_view payload,
                           BlockValues* values) {
  Accumulator sum;
  GRADWIRE_RETURN_IF_ERROR(codec.Accumulate(key, payload, &sum));
  codec.Mean(key, sum, values);
  return absl::OkStatus();
}

}  // namespace gradwire
