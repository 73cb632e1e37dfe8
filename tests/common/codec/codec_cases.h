// SPDX-License-Identifier: Apache-2.0
// For tests of codecs: every codec with every option, block sizes, and inputs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "common/codec/registry.h"
#include "gtest/gtest.h"

namespace gradwire {

inline const std::vector<std::string>& CodecSpecs() {
  static const auto* const specs = new std::vector<std::string>{
      "identity",
      "random_k:0.01",
      "random_k:0.3,set=uniform,values=bf16",
      "random_k:0.1,set=strided,values=fp16",
      "random_k:1",
      "random_k:0.07,values=bf16",
      "top_k:0.01",
      "top_k:0.1,values=bf16",
      "top_k:0.2,values=fp16",
      "top_k:0.4",
      "top_k:0.4,values=bf16",
      "top_k:0.7,values=fp16",
      "top_k:1",
  };
  return *specs;
}

inline const std::vector<size_t>& BlockSizes() {
  static const auto* const sizes = new std::vector<size_t>{1, 2, 3, 17, 1000, 235146, 262144};
  return *sizes;
}

inline std::unique_ptr<Codec> Make(const std::string& spec) {
  absl::StatusOr<std::unique_ptr<Codec>> codec = MakeCodec(spec);
  EXPECT_TRUE(codec.ok()) << codec.status();
  return std::move(codec).value();
}

inline BlockKey KeyOf(size_t size, uint64_t step = 1) {
  return {.seed = 5, .step = step, .block = 2, .size = size};
}

inline std::vector<float> RandomValues(size_t n, uint32_t seed, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

inline std::string Encoded(const Codec& codec, const BlockKey& key, std::vector<float> values) {
  std::string payload = "to be replaced";
  codec.Encode(key, absl::MakeSpan(values), &payload);
  return payload;
}

// All coordinates of a block, those not named zero.
inline std::vector<float> Dense(const BlockValues& block, size_t n) {
  if (block.dense) return block.values;
  std::vector<float> all(n, 0.0f);
  for (size_t i = 0; i < block.indices.size(); ++i) all[block.indices[i]] = block.values[i];
  return all;
}

// What a payload alone stands for.
inline std::vector<float> Decoded(const Codec& codec, const BlockKey& key,
                                  const std::string& payload) {
  Accumulator sum;
  const absl::Status status = codec.Accumulate(key, payload, &sum);
  EXPECT_TRUE(status.ok()) << status;
  BlockValues mean;
  codec.Mean(key, sum, &mean);
  return Dense(mean, key.size);
}

}  // namespace gradwire
