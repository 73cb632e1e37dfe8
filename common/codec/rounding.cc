// SPDX-License-Identifier: Apache-2.0
// Implementation of rounding.h.
#include "common/codec/rounding.h"

#include <algorithm>
#include <array>

#include "common/random/counter.h"

namespace gradwire {

void FillRoundingWords(const BlockKey& key, size_t first, absl::Span<uint32_t> out) {
  const RandomKey random = {.seed = PrivateSeed(key.seed, key.rank),
                            .purpose = Purpose::kRounding,
                            .step = key.step,
                            .block = key.number()};
  for (size_t i = 0; i < out.size(); i += 4) {
    const std::array<uint32_t, 4> words =
        RandomWords(random, static_cast<uint32_t>((first + i) / 4));
    std::copy_n(words.begin(), std::min<size_t>(4, out.size() - i), out.begin() + i);
  }
}

}  // namespace gradwire
