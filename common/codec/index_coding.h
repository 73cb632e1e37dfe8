// SPDX-License-Identifier: Apache-2.0
// How a codec writes which of a block's n coordinates it names, in ascending
// order.  What is best for their number is the only form allowed:
//
//   indices  = %x00 count parameter gaps     ; 8 count <= 3 n
//            / %x01 bitmap                   ; 3 n < 8 count, 2 count <= n
//            / %x02                          ; n < 2 count: all n coordinates, "dense"
//   count    = u32, little-endian
//   parameter = u8                  ; b, or 32 + b with b > 0; b at most 31
//   gaps     = for each index the number of coordinates between it and the one before it
//              (before the first: all that lie below it), Golomb coded with m = 2^b, or with
//              m = 3 2^(b-1) for 32 + b: floor(gap / m) zero bits, a one bit, and the rest r =
//              gap mod m.  For b: r in b bits, lowest first.  For 32 + b: floor(r / 2^(b-1)) as
//              0 / 1 0 / 1 1, then the low b - 1 bits of r, lowest first.  Bits fill bytes from
//              the lowest bit up; what is left of the last byte is zero.
//   bitmap   = ceil(n / 8) bytes; bit i % 8 of byte i / 8 is coordinate i; bits from n on are zero
//
// The parameter is chosen for the block: within 0.06 bit an index of the entropy for sets without
// structure up to a density of 1/4 (powers of two alone: 0.12), and below it for clustered ones.
// A bitmap is shorter from a density of 0.382 on, where b would be 0.
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

// The parameter for which the gaps of `indices` take the fewest bits; the lowest of equals.
int BestGapParameter(absl::Span<const uint32_t> indices);

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
