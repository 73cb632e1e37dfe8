// SPDX-License-Identifier: Apache-2.0
// Products of a large matrix with a few columns.  A factor is `rank` columns of so many values,
// one column after another.  Sums are in double, in a stated order, and rounded once to the
// nearest float, the greatest one standing for what is beyond; so what is finite stays finite.
#pragma once

#include <cstddef>

#include "common/random/counter.h"

namespace gradwire {

// Of a matrix that stands row after row.
struct MatrixShape {
  size_t rows = 0;
  size_t columns = 0;
};

// left (rank columns of rows values) = m right; right has rank columns of columns values.
// Column c of the matrix is added to partial sum c % 16, then those in order.
void TimesFactor(const MatrixShape& shape, const float* m, const float* right, size_t rank,
                 float* left);

// right = transpose(m) left.  Rows are added in order.
void TransposedTimesFactor(const MatrixShape& shape, const float* m, const float* left, size_t rank,
                           float* right);

// out = left transpose(right).  Columns of the factors are added in order.
void FactorProduct(const MatrixShape& shape, const float* left, const float* right, size_t rank,
                   float* out);

// m -= the same product, each value of which is rounded first.
void SubtractFactorProduct(const MatrixShape& shape, const float* left, const float* right,
                           size_t rank, float* m);

// Makes rank columns of length values orthonormal, in order, by Gram-Schmidt with every projection
// taken off twice.  A column that leaves no more than a 1e-6 of itself, a zero one too, is replaced
// by standard normals j * length + i of `random`, j being the column.  rank < length.
void Orthonormalize(size_t length, size_t rank, const RandomKey& random, float* columns);

}  // namespace gradwire
