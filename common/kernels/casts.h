// SPDX-License-Identifier: Apache-2.0
// Between float and the 16-bit formats, by integer operations and exact sums,
// so that every machine gives the same bits.
//
//   bf16 = sign:1 exponent:8 fraction:7     fp16 = sign:1 exponent:5 fraction:10 (IEEE binary16)
//
// To 16 bits: to nearest, ties to even, denormals kept.  What lies beyond the
// format's range, infinities too, becomes its greatest finite value with the
// same sign; NaN becomes the quiet NaN 7FC0 or 7E00.  To float: exact.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gradwire {

// out[i] = rounded x[i]; any length and alignment, no overlap.
void FloatToBf16(const float* x, uint16_t* out, size_t n);
void FloatToFp16(const float* x, uint16_t* out, size_t n);

// out[i] = value of x[i]; any length and alignment, no overlap.
void Bf16ToFloat(const uint16_t* x, float* out, size_t n);
void Fp16ToFloat(const uint16_t* x, float* out, size_t n);

}  // namespace gradwire
