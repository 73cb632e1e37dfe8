// SPDX-License-Identifier: Apache-2.0
// Signs of floats as bits, eight to a byte: bit i % 8 of byte i / 8 says whether x[i] is below
// zero.  Zero is not, whichever its own sign.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gradwire {

// Writes ceil(n / 8) bytes; what is left of the last one is zero.
void PackSigns(const float* x, uint8_t* bits, size_t n);

// The same, and takes off what the bits stand for: x[i] -= x[i] < 0 ? -scale : scale.
void PackSignsTakeScale(float scale, float* x, uint8_t* bits, size_t n);

// out[i] = below where the bit is one, above where it is zero; reads ceil(n / 8) bytes.
void UnpackSigns(const uint8_t* bits, float above, float below, float* out, size_t n);

struct SignSums {
  double above = 0;  // of x[i] that are not below zero
  double below = 0;  // of -x[i] of the others
  size_t count_below = 0;
};

// In double; each of the two as SumOfSquares adds: sixteen partial sums, then those in order.
SignSums SumBySign(const float* x, size_t n);

}  // namespace gradwire
