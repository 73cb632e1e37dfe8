// SPDX-License-Identifier: Apache-2.0
// How a codec writes which of a block's n coordinates it names, in ascending
// order.  What is best for their number is the only form allowed:
//
//   indices  = %x00 count parameter gaps     ; 4 count <= n
//            / %x01 bitmap                   ; n < 4 count, 2 count <= n
//            / %x02                          ; n < 2 count: all n coordinates, "dense"
//   count    = u32, little-endian
//   parameter = u8                           ; b, at most 31
//   gaps     = for each index the number of coordinates between it and the one before it
//              (before the first: all that lie below it), Golomb-Rice coded: gap >> b zero bits,
//              a one bit, the b low bits of the gap, lowest first.  Bits fill bytes from the
//              lowest bit up; what is left of the last byte is zero.
//   bitmap   = ceil(n / 8) bytes; bit i % 8 of byte i / 8 is coordinate i; bits from n on are zero
//
// Golomb-Rice is within 0.08 bit an index of the entropy for sets without
// structure, and below it for clustered ones, since b is chosen for the block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace gradwire {

enum class IndexForm : uint8_t { kGaps = 0, kBitmap = 1, kDense = 2 };

// The form for `count` of n coordinates.
IndexForm IndexFormFor(size_t count, size_t n);

// The parameter b for which the gaps of `indices` take the fewest bits; the lowest of equals.
int BestRiceParameter(absl::Span<const uint32_t> indices);

// Appends `indices`: ascending, different, below n < 2^32.
void AppendIndices(absl::Span<const uint32_t> indices, size_t n, std::string* out);

struct DecodedIndices {
  bool dense = false;             // all n; indices is empty
  std::vector<uint32_t> indices;  // ascending, different, below n
};

// Takes what AppendIndices wrote off the front of `*payload`.  Any bytes are read
// as the grammar says or refused with InvalidArgument; allocates no more than
// n / 2 indices.  On error `*payload` and `*decoded` are undefined.
absl::Status TakeIndices(size_t n, absl::string_view* payload, DecodedIndices* decoded);

}  // namespace gradwire
