// SPDX-License-Identifier: Apache-2.0
// Implementation of low_rank.h: plain loops over rows, whose independent sums a compiler may put
// into vectors as they stand.
#include "common/codec/low_rank.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "common/kernels/vector.h"
#include "common/random/gaussian.h"

namespace gradwire {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kRun = 1024;  // columns of a product at a time: they stay in the first-level cache

float Rounded(double value) {
  constexpr double kGreatest = std::numeric_limits<float>::max();
  return static_cast<float>(std::min(std::max(value, -kGreatest), kGreatest));
}

template <class X, class Y>
double Dot(const X* x, const Y* y, size_t n) {
  std::array<double, kLanes> lanes = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += static_cast<double>(x[i + lane]) * static_cast<double>(y[i + lane]);
    }
  }
  for (; i < n; ++i) lanes[i % kLanes] += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

// Calls use(first, values, n) for runs of the product, row after row; `first` is the place of the
// first of the n values in the matrix.
template <class Use>
void ForEachRunOfProduct(const MatrixShape& shape, const float* left, const float* right,
                         size_t rank, const Use& use) {
  std::array<double, kRun> sums;
  std::array<float, kRun> values;
  for (size_t row = 0; row < shape.rows; ++row) {
    for (size_t begin = 0; begin < shape.columns; begin += kRun) {
      const size_t n = std::min(kRun, shape.columns - begin);
      std::fill_n(sums.begin(), n, 0.0);
      for (size_t j = 0; j < rank; ++j) {
        const double scale = left[j * shape.rows + row];
        const float* column = right + j * shape.columns + begin;
        for (size_t i = 0; i < n; ++i) sums[i] += scale * double{column[i]};
      }
      for (size_t i = 0; i < n; ++i) values[i] = Rounded(sums[i]);
      use(row * shape.columns + begin, values.data(), n);
    }
  }
}

// x -= its projection on each of the orthonormal columns before it.
void TakeOffProjections(size_t length, size_t before, const double* columns, double* x) {
  for (size_t j = 0; j < before; ++j) {
    const double* column = columns + j * length;
    const double share = Dot(column, x, length);
    for (size_t i = 0; i < length; ++i) x[i] -= share * column[i];
  }
}

}  // namespace

void TimesFactor(const MatrixShape& shape, const float* m, const float* right, size_t rank,
                 float* left) {
  for (size_t row = 0; row < shape.rows; ++row) {
    for (size_t j = 0; j < rank; ++j) {
      left[j * shape.rows + row] =
          Rounded(Dot(m + row * shape.columns, right + j * shape.columns, shape.columns));
    }
  }
}

void TransposedTimesFactor(const MatrixShape& shape, const float* m, const float* left, size_t rank,
                           float* right) {
  std::vector<double> sums(rank * shape.columns, 0.0);
  for (size_t row = 0; row < shape.rows; ++row) {
    const float* values = m + row * shape.columns;
    for (size_t j = 0; j < rank; ++j) {
      const double scale = left[j * shape.rows + row];
      double* sum = &sums[j * shape.columns];
      for (size_t i = 0; i < shape.columns; ++i) sum[i] += scale * double{values[i]};
    }
  }
  std::transform(sums.begin(), sums.end(), right, Rounded);
}

void FactorProduct(const MatrixShape& shape, const float* left, const float* right, size_t rank,
                   float* out) {
  ForEachRunOfProduct(shape, left, right, rank, [out](size_t first, const float* values, size_t n) {
    std::copy_n(values, n, out + first);
  });
}

void SubtractFactorProduct(const MatrixShape& shape, const float* left, const float* right,
                           size_t rank, float* m) {
  ForEachRunOfProduct(shape, left, right, rank, [m](size_t first, const float* values, size_t n) {
    Subtract(values, m + first, n);
  });
}

void Orthonormalize(size_t length, size_t rank, const RandomKey& random, float* columns) {
  constexpr double kLeast = 1e-6;  // floats that were rounded once say no more of a direction
  std::vector<double> made(columns, columns + rank * length);
  std::vector<float> normals;
  for (size_t j = 0; j < rank; ++j) {
    double* column = &made[j * length];
    const double before = std::sqrt(Dot(column, column, length));
    const auto norm_left = [&] {
      TakeOffProjections(length, j, made.data(), column);
      TakeOffProjections(length, j, made.data(), column);
      return std::sqrt(Dot(column, column, length));
    };
    double norm = norm_left();
    if (norm <= kLeast * before) {
      normals.resize(rank * length);
      FillGaussians(random, absl::MakeSpan(normals));
      std::copy_n(normals.begin() + static_cast<ptrdiff_t>(j * length), length, column);
      norm = norm_left();
    }
    for (size_t i = 0; i < length; ++i) column[i] = norm > 0 ? column[i] / norm : 0;
  }
  std::transform(made.begin(), made.end(), columns, Rounded);
}

}  // namespace gradwire
