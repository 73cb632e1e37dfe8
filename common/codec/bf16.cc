// SPDX-License-Identifier: Apache-2.0
// The codec `bf16`: every coordinate in the upper half of a binary32, rounded to nearest, ties to
// even.
//
//   payload = n bf16          ; up and down, n the block's size; coordinate 0 first
//
// Each coordinate is off by at most 2^-8 of itself (half a unit of the eighth bit; below 2^-126 by
// at most 2^-134): contraction mu >= 1 - 2^-16.  What is beyond the greatest bf16 is sent as that.
// Error feedback keeps what rounding takes off.
#include "common/codec/cast.h"
#include "common/codec/registry.h"

namespace gradwire {
namespace {

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>();
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& /*values*/) {
  return std::make_unique<Cast>("bf16", v1::CODEC_BF16, ValueFormat::kBf16);
}

}  // namespace

// For the table in registry.cc.
CodecEntry Bf16Entry() {
  return {.name = "bf16",
          .id = v1::CODEC_BF16,
          .summary = "every coordinate in bfloat16: the range of fp32, 8 bits",
          .error = "mu >= 1 - 2^-16",
          .up = "2 n",
          .down = "2 n",
          .linear = "no",
          .source = "PyTorch DDP bf16_compress_hook",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
