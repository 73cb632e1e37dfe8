// SPDX-License-Identifier: Apache-2.0
// A count sketch (Charikar, Chen, Farach-Colton 2002): some rows of buckets, in each of which every
// coordinate has a bucket and a sign of its own, and is one of those that the bucket sums.
//
//   word w of row r and coordinate i: word i of RandomKey{seed, kSketch, step r, block}
//   bucket = floor((w >> 1) columns / 2^31); sign - if w is odd, else +
//
// The same at every worker and in every step, so that sketches can be added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace gradwire {

class Sketch {
 public:
  // Of a block of `size` coordinates.  rows is odd and at most kMaxRows.
  static constexpr size_t kMaxRows = 15;
  Sketch(uint64_t seed, uint32_t block, size_t size, size_t rows, size_t columns)
      : seed_(seed), block_(block), size_(size), rows_(rows), columns_(columns) {}

  // What a table has: rows, one after another.
  size_t table_size() const { return rows_ * columns_; }

  // table = the sums of `values`, in double in the order of coordinates, rounded to the nearest
  // finite float.
  void Fill(absl::Span<const float> values, absl::Span<float> table) const;

  // values[i] = the median over rows of sign times bucket.
  void Estimate(absl::Span<const float> table, absl::Span<float> values) const;

  // The buckets of some ascending coordinates, of values[j] at indices[j]: less those values, or
  // zero.
  void Subtract(absl::Span<const uint32_t> indices, absl::Span<const float> values,
                absl::Span<float> table) const;
  void Clear(absl::Span<const uint32_t> indices, absl::Span<float> table) const;

 private:
  struct Place {
    uint32_t bucket;
    float sign;
  };
  Place PlaceOf(uint32_t word) const;
  // The places in a row of coordinates from `first` on, a multiple of four.
  void FillPlaces(size_t row, size_t first, absl::Span<Place> places) const;
  Place PlaceOf(size_t row, uint32_t coordinate) const;

  const uint64_t seed_;
  const uint32_t block_;
  const size_t size_;
  const size_t rows_;
  const size_t columns_;
};

}  // namespace gradwire
