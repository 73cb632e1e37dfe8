// SPDX-License-Identifier: Apache-2.0
// Which samples a worker computes a step's gradient on: a function of
// (seed, step, rank), so that a step can be computed again.
#pragma once

#include <cstdint>
#include <vector>

namespace gradwire {

// Fills `*out` with `batch` rows, drawn with replacement and each equally likely,
// of shard rank % shards; row r belongs to shard r % shards.  Two ranks of one
// shard draw differently.  Needs 1 <= shards <= rows <= 2^32 - 1.
//
// The draw is Lemire's multiplication with rejection ("Fast Random Integer
// Generation in an Interval", 2019, algorithm 5) on the words of
// (seed, Purpose::kBatch, step, block = rank) in their order.
void FillBatch(uint64_t seed, uint64_t step, uint32_t rank, uint32_t shards, uint32_t rows,
               uint32_t batch, std::vector<uint32_t>* out);

}  // namespace gradwire
