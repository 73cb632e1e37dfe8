// SPDX-License-Identifier: Apache-2.0
// What is done with decoded blocks, dense or sparse alike.
#pragma once

#include <cstddef>

#include "absl/types/span.h"
#include "common/codec/codec.h"

namespace gradwire {

// Gives the block all of its `size` coordinates; those not named are zero.
void MakeDense(size_t size, BlockValues* block);

// values[i] += scale * (coordinate i of the block); `values` has the block's size.
void AddBlockTo(const BlockValues& block, float scale, absl::Span<float> values);

}  // namespace gradwire
