// SPDX-License-Identifier: Apache-2.0
// For the codec fuzzers: what the first bytes of an input choose.
//
//   input = codec size step payload
//   codec = u8       ; a row of kSpecs, modulo their number
//   size  = u16      ; coordinates of the block, less one, modulo 4096
//   step  = u8
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/base/little_endian.h"
#include "common/codec/registry.h"

namespace gradwire {

inline constexpr const char* kSpecs[] = {
    "identity",
    "random_k:0.1",
    "random_k:0.3,set=uniform,values=bf16",
    "random_k:0.02,set=strided,values=fp16",
    "top_k:0.1",
    "top_k:0.2,values=fp16",
    "top_k:0.4,values=bf16",
    "top_k:0.9",
};

struct FuzzCase {
  std::unique_ptr<Codec> codec;
  BlockKey key;
  absl::string_view payload;
};

// False when there are too few bytes.
inline bool ReadFuzzCase(const uint8_t* data, size_t size, FuzzCase* fuzz) {
  constexpr size_t kHead = 4;
  if (size < kHead) return false;
  const char* bytes = reinterpret_cast<const char*>(data);
  fuzz->codec = MakeCodec(kSpecs[data[0] % std::size(kSpecs)]).value();
  fuzz->key = {.seed = 3,
               .step = data[3],
               .block = 1,
               .size = size_t{1} + LoadLittleEndian<uint16_t>(bytes + 1) % 4096};
  fuzz->payload = absl::string_view(bytes + kHead, size - kHead);
  return true;
}

// For what must hold for every input.
inline void Require(bool condition) {
  if (!condition) std::abort();
}

inline bool AllFinite(const std::vector<float>& values) {
  for (const float value : values) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

// Indices ascending and inside, one value for each; all finite.
inline bool IsSound(const BlockValues& block, size_t size) {
  if (!AllFinite(block.values)) return false;
  if (block.dense) return block.indices.empty() && block.values.size() == size;
  if (block.indices.size() != block.values.size()) return false;
  for (size_t i = 0; i < block.indices.size(); ++i) {
    if (block.indices[i] >= size) return false;
    if (i > 0 && block.indices[i] <= block.indices[i - 1]) return false;
  }
  return true;
}

}  // namespace gradwire
