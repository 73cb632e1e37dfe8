// SPDX-License-Identifier: Apache-2.0
// The k values of greatest magnitude, exactly: a radix histogram over the bits of |x| finds the
// k-th, and one pass collects; where k is a small part, only among those that a sample does not
// rule out.  No sort.  Or all from a magnitude on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gradwire {

// Fills `*indices` with the k coordinates of the greatest |x|, ascending; of
// equal ones the lowest.  1 <= k <= n < 2^32.  NaN counts as greater than all.
void SelectLargest(const float* x, size_t n, size_t k, std::vector<uint32_t>* indices);

// How many x[i] are not zero and have |x[i]| >= least; least >= 0, all finite.
size_t CountAtLeast(const float* x, size_t n, float least);

// Fills `*indices` with their coordinates, ascending.
void SelectAtLeast(const float* x, size_t n, float least, std::vector<uint32_t>* indices);

}  // namespace gradwire
