// SPDX-License-Identifier: Apache-2.0
// Counter-based random words (Philox4x32-10 of Random123): a pure function of
// (seed, purpose, step, block, index), the same on every machine and in any order.
//
//   key     = seed, low word first
//   counter = index | block | step, low 32 bits | step, bits 32..55, and purpose in the top 8
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace gradwire {

// Numbers are part of every log and snapshot: never reused, never renumbered.
enum class Purpose : uint8_t {
  kInit = 1,          // first values of the parameters
  kIndexSet = 2,      // random_k's coordinates
  kPerturbation = 3,  // noise on gradients
  kBatch = 4,         // which samples a worker draws
  kLangevin = 5,      // sgld's noise on parameters
  kOnDemand = 6,      // the perturbation on_demand
  kRounding = 7,      // a codec's rounding up or down
  kTie = 8,           // votes that are even
  kSketch = 9,        // hash functions of a sketch
  kBasis = 10,        // a low-rank codec's first basis
  kSample = 11,       // coordinates that a threshold is guessed from
};

struct RandomKey {
  uint64_t seed = 0;
  Purpose purpose = Purpose::kInit;
  uint64_t step = 0;  // below 2^56
  uint32_t block = 0;
};

// A seed for what two workers must not draw alike: xxh3-64 of seed and rank, 8 bytes each.
uint64_t PrivateSeed(uint64_t seed, uint32_t rank);

// Four words at `index`.
std::array<uint32_t, 4> RandomWords(const RandomKey& key, uint32_t index);

// out[i] = word i % 4 of RandomWords(key, i / 4).
void FillRandomWords(const RandomKey& key, absl::Span<uint32_t> out);

}  // namespace gradwire
