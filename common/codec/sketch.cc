// SPDX-License-Identifier: Apache-2.0
// Implementation of sketch.h, in runs of coordinates that stay in the first-level cache.
#include "common/codec/sketch.h"

#include <algorithm>
#include <array>
#include <limits>

#include "common/random/counter.h"

namespace gradwire {
namespace {

constexpr size_t kRun = 256;
using Run = std::array<float, kRun>;

float Rounded(double value) {
  constexpr double kGreatest = std::numeric_limits<float>::max();
  return static_cast<float>(std::clamp(value, -kGreatest, kGreatest));
}

RandomKey RandomOf(uint64_t seed, uint32_t block, size_t row) {
  return {.seed = seed, .purpose = Purpose::kSketch, .step = row, .block = block};
}

// Without a branch: which is less is a matter of chance.
void Exchange(Run* low, Run* high) {
  for (size_t i = 0; i < kRun; ++i) {
    const float a = (*low)[i];
    const float b = (*high)[i];
    (*low)[i] = std::min(a, b);
    (*high)[i] = std::max(a, b);
  }
}

// Sorts each column of `rows` runs: odd-even transposition.
void SortColumns(size_t rows, Run* runs) {
  for (size_t pass = 0; pass < rows; ++pass) {
    for (size_t row = pass % 2; row + 1 < rows; row += 2) {
      Exchange(&runs[row], &runs[row + 1]);
    }
  }
}

}  // namespace

Sketch::Place Sketch::PlaceOf(uint32_t word) const {
  const uint64_t product = uint64_t{word >> 1} * columns_;
  return {.bucket = static_cast<uint32_t>(product >> 31),
          .sign = 1.0f - 2.0f * static_cast<float>(word & 1)};
}

Sketch::Place Sketch::PlaceOf(size_t row, uint32_t coordinate) const {
  return PlaceOf(RandomWords(RandomOf(seed_, block_, row), coordinate / 4)[coordinate % 4]);
}

void Sketch::FillPlaces(size_t row, size_t first, absl::Span<Place> places) const {
  const RandomKey random = RandomOf(seed_, block_, row);
  for (size_t i = 0; i < places.size(); i += 4) {
    const std::array<uint32_t, 4> words =
        RandomWords(random, static_cast<uint32_t>((first + i) / 4));
    for (size_t j = i; j < std::min(i + 4, places.size()); ++j) places[j] = PlaceOf(words[j - i]);
  }
}

void Sketch::Fill(absl::Span<const float> values, absl::Span<float> table) const {
  std::vector<double> sums(columns_);
  std::array<Place, kRun> places;
  for (size_t row = 0; row < rows_; ++row) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (size_t first = 0; first < size_; first += kRun) {
      const size_t n = std::min(kRun, size_ - first);
      FillPlaces(row, first, absl::MakeSpan(places.data(), n));
      for (size_t i = 0; i < n; ++i) {
        sums[places[i].bucket] += double{places[i].sign * values[first + i]};
      }
    }
    std::transform(sums.begin(), sums.end(), table.subspan(row * columns_).begin(), Rounded);
  }
}

void Sketch::Estimate(absl::Span<const float> table, absl::Span<float> values) const {
  std::array<Place, kRun> places;
  std::vector<Run> runs(rows_);
  for (size_t first = 0; first < size_; first += kRun) {
    const size_t n = std::min(kRun, size_ - first);
    for (size_t row = 0; row < rows_; ++row) {
      FillPlaces(row, first, absl::MakeSpan(places.data(), n));
      const float* buckets = &table[row * columns_];
      for (size_t i = 0; i < n; ++i) runs[row][i] = places[i].sign * buckets[places[i].bucket];
    }
    SortColumns(rows_, runs.data());
    std::copy_n(runs[rows_ / 2].begin(), n, &values[first]);
  }
}

void Sketch::Subtract(absl::Span<const uint32_t> indices, absl::Span<const float> values,
                      absl::Span<float> table) const {
  for (size_t row = 0; row < rows_; ++row) {
    for (size_t j = 0; j < indices.size(); ++j) {
      const Place place = PlaceOf(row, indices[j]);
      float& bucket = table[row * columns_ + place.bucket];
      bucket = Rounded(double{bucket} - double{place.sign * values[j]});
    }
  }
}

void Sketch::Clear(absl::Span<const uint32_t> indices, absl::Span<float> table) const {
  for (size_t row = 0; row < rows_; ++row) {
    for (const uint32_t index : indices) table[row * columns_ + PlaceOf(row, index).bucket] = 0;
  }
}

}  // namespace gradwire
