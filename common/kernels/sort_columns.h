// SPDX-License-Identifier: Apache-2.0
// Sorts the columns of a table whose rows are arrays of floats: many short sorts at once.
#pragma once

#include <cstddef>

namespace gradwire {

// Afterwards rows[0][i] <= rows[1][i] <= ... for each i below n; -0 comes before +0, so equal
// columns in any order of rows give equal bits.  No NaN.  Rows do not overlap; any alignment.
void SortColumns(float* const* rows, size_t count, size_t n);

}  // namespace gradwire
