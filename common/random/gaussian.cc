// SPDX-License-Identifier: Apache-2.0
// Implementation of gaussian.h: words in chunks through the Box-Muller kernel.
#include "common/random/gaussian.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/base/float_environment.h"
#include "common/kernels/box_muller.h"

namespace gradwire {

void FillGaussians(const RandomKey& key, absl::Span<float> out) {
  SetFloatEnvironment();
  constexpr size_t kChunk = 1024;
  std::array<uint32_t, kChunk> words;
  std::array<float, kChunk> normals;
  for (size_t begin = 0; begin < out.size(); begin += kChunk) {
    const size_t wanted = std::min(kChunk, out.size() - begin);
    const size_t whole = (wanted + 3) / 4 * 4;
    for (size_t i = 0; i < whole; i += 4) {
      const std::array<uint32_t, 4> four = RandomWords(key, static_cast<uint32_t>((begin + i) / 4));
      std::memcpy(&words[i], four.data(), sizeof(four));
    }
    BoxMuller(words.data(), normals.data(), whole);
    std::copy_n(normals.begin(), wanted, out.begin() + begin);
  }
}

}  // namespace gradwire
