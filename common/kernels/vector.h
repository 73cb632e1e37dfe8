// SPDX-License-Identifier: Apache-2.0
// Loops over plain arrays of floats: any length, any alignment, no overlap
// unless the same pointer.  Each rounds after every operation, in the stated
// order; no fused multiply-add.
#pragma once

#include <cstddef>

namespace gradwire {

// sum[i] += x[i]
void Add(const float* x, float* sum, size_t n);

// y[i] -= x[i]
void Subtract(const float* x, float* y, size_t n);

// sum[i] += scale * x[i]
void AddScaled(float scale, const float* x, float* sum, size_t n);

// out[i] = x[i] / divisor; out may be x
void Divide(const float* x, float divisor, float* out, size_t n);

// The first i for which x[i] is NaN or infinite, or n.
size_t FirstNonFinite(const float* x, size_t n);

// The greatest |x[i]|; infinite when one is NaN or infinite, 0 when n is.
float MaxMagnitude(const float* x, size_t n);

// The first i for which sum[i] + scale * x[i] is NaN or infinite, or n.
size_t FirstNonFiniteSum(const float* sum, float scale, const float* x, size_t n);

// The sum of x[i] * x[i] in double: sixteen partial sums, x[i] in sum i % 16, then those in order.
double SumOfSquares(const float* x, size_t n);

// The same of x[i] - y[i], subtracted in double.
double SquaredDistance(const float* x, const float* y, size_t n);

}  // namespace gradwire
