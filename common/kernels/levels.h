// SPDX-License-Identifier: Apache-2.0
// Loops below the quantisers: rounding to whole levels by chance, and small codes in bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gradwire {

// The greatest |x[i]|, or 0.
float GreatestMagnitude(const float* x, size_t n);

// out[i] = sign(x[i]) * floor(r + words[i] / 2^32), r = levels * min(|x[i]|, norm) / norm cut to
// 32 binary places: r on average, if the words are uniform.  All zero when norm is zero.
// In double, min(|x[i]|, norm) * (levels * 2^32 / norm); levels is at most 127.
void RoundToLevels(const float* x, const uint32_t* words, float norm, int levels, int8_t* out,
                   size_t n);

// Codes of `width` bits, 1 to 8, one after another; bits fill bytes from the lowest up, and what
// is left of the last byte is zero.  Both touch ceil(n * width / 8) bytes.
void PackCodes(const uint8_t* codes, int width, uint8_t* bytes, size_t n);
void UnpackCodes(const uint8_t* bytes, int width, uint8_t* codes, size_t n);

}  // namespace gradwire
