// SPDX-License-Identifier: Apache-2.0
// Implementation of block_values.h.
#include "common/codec/block_values.h"

#include <utility>
#include <vector>

#include "common/kernels/vector.h"

namespace gradwire {

void MakeDense(size_t size, BlockValues* block) {
  if (block->dense) return;
  std::vector<float> all(size, 0.0f);
  for (size_t i = 0; i < block->indices.size(); ++i) all[block->indices[i]] = block->values[i];
  *block = {.dense = true, .indices = {}, .values = std::move(all)};
}

void AddBlockTo(const BlockValues& block, float scale, absl::Span<float> values) {
  if (block.dense) return AddScaled(scale, block.values.data(), values.data(), values.size());
  for (size_t i = 0; i < block.indices.size(); ++i) {
    values[block.indices[i]] += scale * block.values[i];
  }
}

}  // namespace gradwire
