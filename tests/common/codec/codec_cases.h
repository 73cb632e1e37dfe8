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

// A codec with options, and what holds for it in codec_test.cc beyond its traits.  Add rows at
// the end.
struct CodecCase {
  std::string spec;
  // What is sent of a coordinate is off by this share of it at most; kAny: no such bound.
  double rounding = kAny;
  double update_rounding = 0;  // the same of an update, against the mean
  // A mean is the sum in order of what the payloads stand for, divided once: no votes or sketches.
  bool sums_decoded = true;

  static constexpr double kAny = 1e300;
};

inline const std::vector<CodecCase>& CodecCases() {
  constexpr double kHalf = 1.0 / 256;  // bf16, and fp16 above its denormals
  static const auto* const cases = new std::vector<CodecCase>{
      {.spec = "identity", .rounding = 0},
      {.spec = "random_k:0.01", .rounding = 0},
      {.spec = "random_k:0.3,set=uniform,values=bf16", .rounding = kHalf, .update_rounding = kHalf},
      {.spec = "random_k:0.1,set=strided,values=fp16", .rounding = kHalf, .update_rounding = kHalf},
      {.spec = "random_k:1", .rounding = 0},
      {.spec = "random_k:0.07,values=bf16", .rounding = kHalf, .update_rounding = kHalf},
      {.spec = "top_k:0.01", .rounding = 0},
      {.spec = "top_k:0.1,values=bf16", .rounding = kHalf, .update_rounding = kHalf},
      {.spec = "top_k:0.2,values=fp16", .rounding = kHalf, .update_rounding = kHalf},
      {.spec = "top_k:0.4", .rounding = 0},
      {.spec = "top_k:0.4,values=bf16", .rounding = kHalf, .update_rounding = kHalf},
      {.spec = "top_k:0.7,values=fp16", .rounding = kHalf, .update_rounding = kHalf},
      {.spec = "top_k:1", .rounding = 0},
      {.spec = "bf16", .rounding = kHalf, .update_rounding = kHalf},
      {.spec = "fp16", .rounding = kHalf, .update_rounding = kHalf},
      {.spec = "int8"},
      {.spec = "int8:block=8"},
      {.spec = "int8:block=0"},
      {.spec = "threshold:0.5", .rounding = 0},
      {.spec = "threshold:2.5", .rounding = 0},
      {.spec = "threshold:1.2,values=bf16", .rounding = kHalf, .update_rounding = kHalf},
      {.spec = "threshold:1,values=fp16", .rounding = kHalf, .update_rounding = kHalf},
      {.spec = "dgc", .rounding = 0},
      {.spec = "dgc:0.01,nesterov=yes,clip=1,values=fp16",
       .rounding = kHalf,
       .update_rounding = kHalf},
      {.spec = "dgc:0.05,warmup=50", .rounding = 0},
      {.spec = "dgc:0.3,values=bf16", .rounding = kHalf, .update_rounding = kHalf},
      {.spec = "dgc:1", .rounding = 0},
      {.spec = "sign"},
      {.spec = "sign:block=64"},
      {.spec = "sign:block=0"},
      {.spec = "sign_majority", .sums_decoded = false},
      {.spec = "sign_majority:momentum=0.9", .sums_decoded = false},
      {.spec = "one_bit"},
      {.spec = "one_bit:block=8"},
      {.spec = "qsgd"},
      {.spec = "qsgd:levels=1,bucket=16"},
      {.spec = "qsgd:levels=127,bucket=0,norm=max"},
      {.spec = "terngrad"},
      {.spec = "terngrad:clip=0,block=64"},
      {.spec = "two_bit"},
      {.spec = "two_bit:tau=0.5"},
      {.spec = "count_sketch", .sums_decoded = false},
      {.spec = "count_sketch:rows=5,ratio=0.2,k=0.6,left=subtract", .sums_decoded = false},
      {.spec = "powersgd", .update_rounding = CodecCase::kAny, .sums_decoded = false},
      {.spec = "powersgd:3", .update_rounding = CodecCase::kAny, .sums_decoded = false},
      {.spec = "natural"},
  };
  return *cases;
}

inline const std::vector<size_t>& BlockSizes() {
#ifdef __SANITIZE_THREAD__
  // One thread has no races to find, and everything takes ten times as long.
  static const auto* const sizes = new std::vector<size_t>{1, 2, 3, 17, 1000, 20011};
#else
  static const auto* const sizes = new std::vector<size_t>{1, 2, 3, 17, 1000, 20011, 262144};
#endif
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

// The same; where the codec works on matrices and eight divides the size, a matrix of eight
// columns at the job's start.
inline BlockKey KeyFor(const Codec& codec, size_t size, uint64_t step = 1) {
  static const auto* const zeros = new std::vector<float>(size_t{1} << 20, 0.0f);
  BlockKey key = KeyOf(size, step);
  if (codec.traits().matrix && size % 8 == 0) key.columns = 8;
  key.basis = absl::MakeConstSpan(*zeros).first(codec.basis_size(key));
  return key;
}

// What is sent, and what is left, is exact for the codecs that error feedback is for.
inline bool LeavesResidual(const Codec& codec) {
  const CodecTraits traits = codec.traits();
  if (traits.lossless) return false;  // it is zero, and nobody looks
  return !traits.only_its_feedback || traits.feedback != Feedback::kNone;
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
  BlockValues values;
  const absl::Status status = DecodePayload(codec, key, payload, &values);
  EXPECT_TRUE(status.ok()) << status;
  return Dense(values, key.size);
}

// Of so many payloads of RandomValues, of `seed` and those that follow.
inline BlockValues MeanOf(const Codec& codec, const BlockKey& key, uint32_t workers,
                          uint32_t seed) {
  Accumulator sum;
  for (uint32_t worker = 0; worker < workers; ++worker) {
    const std::string payload = Encoded(codec, key, RandomValues(key.size, seed + worker));
    EXPECT_TRUE(codec.Accumulate(key, payload, &sum).ok());
  }
  BlockValues mean;
  codec.Mean(key, sum, &mean);
  return mean;
}

}  // namespace gradwire
