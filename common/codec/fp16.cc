// SPDX-License-Identifier: Apache-2.0
// The codec `fp16`: every coordinate in IEEE binary16, rounded to nearest, ties to even.
//
//   payload = n fp16          ; up and down, n the block's size; coordinate 0 first
//
// Each coordinate is off by at most 2^-11 of itself, or 2^-25 where it is below 2^-14: contraction
// mu >= 1 - 2^-22 for values of 2^-14 to 65504.  A greater one is sent as 65504.  Error feedback
// keeps what rounding takes off, so small values go out once they have added up.
#include "common/codec/cast.h"
#include "common/codec/registry.h"

namespace gradwire {
namespace {

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>();
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& /*values*/) {
  return std::make_unique<Cast>("fp16", v1::CODEC_FP16, ValueFormat::kFp16);
}

}  // namespace

// For the table in registry.cc.
CodecEntry Fp16Entry() {
  return {.name = "fp16",
          .id = v1::CODEC_FP16,
          .summary = "every coordinate in IEEE half precision: 11 bits, from 6e-8 to 65504",
          .error = "mu >= 1 - 2^-22 from 6e-5 to 65504",
          .up = "2 n",
          .down = "2 n",
          .linear = "no",
          .source = "PyTorch DDP fp16_compress_hook",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
