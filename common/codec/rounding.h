// SPDX-License-Identifier: Apache-2.0
// The random words by which a codec rounds a value up or down: each worker has its own.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "common/codec/codec.h"

namespace gradwire {

// out[i] = the word of coordinate first + i: that of purpose kRounding and seed
// PrivateSeed(key.seed, key.rank).  `first` is a multiple of 4.
void FillRoundingWords(const BlockKey& key, size_t first, absl::Span<uint32_t> out);

}  // namespace gradwire
