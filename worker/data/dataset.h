// SPDX-License-Identifier: Apache-2.0
// Labelled samples in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace gradwire {

// What a data set may hold at most: 4 GiB of values.
inline constexpr size_t kMaxDatasetValues = size_t{1} << 30;

// Row-major; immutable once read.
struct Dataset {
  size_t rows = 0;
  size_t features = 0;
  uint32_t classes = 0;          // 1 + the largest label
  std::vector<float> values;     // rows * features
  std::vector<uint32_t> labels;  // rows

  absl::Span<const float> row(size_t i) const {
    return absl::MakeConstSpan(values).subspan(i * features, features);
  }
};

struct DataPair {
  Dataset train;
  Dataset test;
};

}  // namespace gradwire
