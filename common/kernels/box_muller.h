// SPDX-License-Identifier: Apache-2.0
// Random words into standard normals (Box and Muller 1958), with + - * / and
// square root only: the same bits on every machine.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gradwire {

// For every pair (a, b) = (words[2i], words[2i+1]), with
//   u = (floor(a / 2) + 0.5) / 2^31 in (0, 1]    v = b / 2^32 in [0, 1)
//   normals[2i] = sqrt(-2 ln u) cos(2 pi v)      normals[2i+1] = sqrt(-2 ln u) sin(2 pi v)
// n is even.  |normal| <= sqrt(64 ln 2) = 6.66, and each is within 1.7e-7 sqrt(-2 ln u) of
// the formula for the u above rounded to float.  No overlap, any alignment.
void BoxMuller(const uint32_t* words, float* normals, size_t n);

}  // namespace gradwire
