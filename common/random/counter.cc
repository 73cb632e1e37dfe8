// SPDX-License-Identifier: Apache-2.0
// Implementation of counter.h on Random123 (Salmon, Moraes, Dror, Shaw: "Parallel
// random numbers: as easy as 1, 2, 3", SC 2011).
#include "common/random/counter.h"

#include <Random123/philox.h>

#include <algorithm>

#include "common/base/hash.h"

namespace gradwire {

uint64_t PrivateSeed(uint64_t seed, uint32_t rank) {
  const uint64_t both[] = {seed, rank};
  return Hash64(absl::MakeConstSpan(both));
}

std::array<uint32_t, 4> RandomWords(const RandomKey& key, uint32_t index) {
  const philox4x32_key_t philox_key = {
      {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)}};
  const uint32_t step_and_purpose = (static_cast<uint32_t>(key.step >> 32) & 0x00FFFFFF) |
                                    static_cast<uint32_t>(key.purpose) << 24;
  const philox4x32_ctr_t counter = {
      {index, key.block, static_cast<uint32_t>(key.step), step_and_purpose}};
  const philox4x32_ctr_t words = philox4x32_R(10, counter, philox_key);
  return {words.v[0], words.v[1], words.v[2], words.v[3]};
}

void FillRandomWords(const RandomKey& key, absl::Span<uint32_t> out) {
  for (size_t i = 0; i < out.size(); i += 4) {
    const std::array<uint32_t, 4> words = RandomWords(key, static_cast<uint32_t>(i / 4));
    std::copy_n(words.begin(), std::min<size_t>(4, out.size() - i), out.begin() + i);
  }
}

}  // namespace gradwire
