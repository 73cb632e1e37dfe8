// SPDX-License-Identifier: Apache-2.0
// For the codec fuzzers: what the first bytes of an input choose.
//
//   input = codec size step payload
//   codec = u8       ; the number of a row of kSpecs; without such a row the input says nothing
//   size  = u16      ; coordinates of the block, less one, modulo 4096
//   step  = u8
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/little_endian.h"
#include "common/codec/registry.h"

namespace gradwire {

struct FuzzSpec {
  uint8_t number;  // never changes, so that a corpus stays what it was
  const char* spec;
};

// A new row's number is 10 * CodecId, + 1, + 2 for further ones of the same codec.
inline constexpr FuzzSpec kSpecs[] = {
    {0, "identity"},
    {1, "random_k:0.1"},
    {2, "random_k:0.3,set=uniform,values=bf16"},
    {3, "random_k:0.02,set=strided,values=fp16"},
    {4, "top_k:0.1"},
    {5, "top_k:0.2,values=fp16"},
    {6, "top_k:0.4,values=bf16"},
    {7, "top_k:0.9"},
    {40, "bf16"},
    {50, "fp16"},
    {60, "int8:block=16"},
    {61, "int8:block=0"},
    {70, "threshold:0.5"},
    {71, "threshold:1,values=bf16"},
    {80, "dgc:0.05"},
    {81, "dgc:0.9,warmup=100,values=fp16"},
    {90, "sign:block=64"},
    {91, "sign:block=0"},
    {100, "sign_majority"},
    {110, "one_bit:block=64"},
    {120, "qsgd:bucket=64"},
    {121, "qsgd:levels=3,bucket=0,norm=max"},
    {122, "qsgd:levels=127,bucket=0"},
    {130, "terngrad"},
    {131, "terngrad:clip=0,block=64"},
    {140, "two_bit:tau=0.5"},
    {150, "count_sketch:rows=3,ratio=0.3,k=0.1,left=subtract,momentum=0.9"},
    {151, "count_sketch:rows=1,ratio=1,k=0.6"},
    {160, "powersgd:1"},
    {161, "powersgd:3"},
    {170, "natural"},
};

struct FuzzCase {
  std::unique_ptr<Codec> codec;
  BlockKey key;
  absl::string_view payload;
};

inline std::unique_ptr<Codec> FuzzCodec(uint8_t number) {
  for (const FuzzSpec& row : kSpecs) {
    if (row.number == number) return MakeCodec(row.spec).value();
  }
  return nullptr;
}

// False when the bytes are too few, or name no codec.  A codec that works on matrices gets one of
// eight columns where eight divides the size, and a basis as at the job's start.
inline bool ReadFuzzCase(const uint8_t* data, size_t size, FuzzCase* fuzz) {
  constexpr size_t kHead = 4;
  if (size < kHead) return false;
  fuzz->codec = FuzzCodec(data[0]);
  if (fuzz->codec == nullptr) return false;
  const char* bytes = reinterpret_cast<const char*>(data);
  fuzz->key = {.seed = 3,
               .step = data[3],
               .block = 1,
               .size = size_t{1} + LoadLittleEndian<uint16_t>(bytes + 1) % 4096};
  if (fuzz->codec->traits().matrix && fuzz->key.size % 8 == 0) fuzz->key.columns = 8;
  static const auto* const zeros = new std::vector<float>(1 << 16, 0.0f);
  fuzz->key.basis = absl::MakeConstSpan(*zeros).first(fuzz->codec->basis_size(fuzz->key));
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
