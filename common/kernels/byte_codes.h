// SPDX-License-Identifier: Apache-2.0
// Loops below the codec int8: floats as multiples of a scale, -127 to 127, in a byte each.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gradwire {

// codes[i] = x[i] / scale, at most 127 in magnitude, rounded to nearest, ties to even.
// scale > 0; x finite.
void RoundToBytes(const float* x, float scale, int8_t* codes, size_t n);

// out[i] = codes[i] * scale
void ScaleBytes(const int8_t* codes, float scale, float* out, size_t n);

}  // namespace gradwire
