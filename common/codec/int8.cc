// SPDX-License-Identifier: Apache-2.0
// The codec `int8`: every coordinate in a byte, by a scale for each sub-block.
//
//   payload = scales codes
//   scales  = *fp32           ; of each sub-block of `block` coordinates in turn, finite, not
//   negative codes   = n i8            ; -127 to 127; the value is code * scale update  = n fp32 ;
//   see dense_aggregate.h
//
//   scale   = max|x| / 127, of equal nearness the even float; the float below it where 127 times
//             it would be infinite
//   code    = x / scale, rounded to nearest, ties to even, at most 127 in magnitude; 0 when the
//             scale is 0, that is when max|x| is below 64 times the least denormal
//
// Each coordinate is off by at most max|x| / 254 of its sub-block: contraction
// mu >= 1 - block / 254^2, and about 1 - 5e-5 for Gaussian values in sub-blocks of 256.  Biased:
// error feedback keeps the rest.  Source: LLM.int8() (Dettmers et al. 2022), absmax quantisation.
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/codec/dense_aggregate.h"
#include "common/codec/registry.h"
#include "common/codec/sub_blocks.h"
#include "common/kernels/byte_codes.h"
#include "common/kernels/levels.h"

namespace gradwire {
namespace {

float ScaleFor(float greatest) {
  constexpr float kGreatestCode = 127.0f;
  const float scale = greatest / kGreatestCode;
  if (std::isfinite(kGreatestCode * scale)) return scale;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scale) - 1);
}

class Int8 final : public DenseAggregateCodec {
 public:
  explicit Int8(size_t length) : length_(length) {}

  v1::CodecId id() const override { return v1::CODEC_INT8; }
  CodecTraits traits() const override { return {.alone = Alone::kCoordinates, .compact = false}; }

  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const override {
    SetFloatEnvironment();
    const SubBlocks blocks(key.size, length_);
    const size_t head = blocks.count() * sizeof(float);
    payload->assign(head + key.size, '\0');
    char* const scales = payload->data();
    auto* const codes = reinterpret_cast<int8_t*>(payload->data() + head);
    blocks.ForEachIn(0, key.size, [&](size_t s, size_t begin, size_t end) {
      const float scale = ScaleFor(GreatestMagnitude(&values[begin], end - begin));
      std::memcpy(scales + s * sizeof(float), &scale, sizeof(float));
      if (scale > 0) RoundToBytes(&values[begin], scale, codes + begin, end - begin);
    });
    KeepRest(key, *payload, values);
  }

 private:
  absl::string_view name() const override { return "int8"; }

  absl::Status Check(const BlockKey& key, absl::string_view payload) const override {
    const size_t scales = SubBlocks(key.size, length_).count();
    GRADWIRE_RETURN_IF_ERROR(CheckScaledPayload(name(), payload, scales, key.size, 0));
    const size_t bad = payload.find('\x80', scales * sizeof(float));
    if (bad == absl::string_view::npos) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("int8: coordinate ",
                                                   bad - scales * sizeof(float),
                                                   " has the code -128; codes are -127 to 127"));
  }

  void DecodeRun(const BlockKey& key, absl::string_view payload, size_t first,
                 absl::Span<float> out) const override {
    const SubBlocks blocks(key.size, length_);
    const size_t head = blocks.count() * sizeof(float);
    const auto* const codes = reinterpret_cast<const int8_t*>(payload.data() + head);
    blocks.ForEachIn(first, first + out.size(), [&](size_t s, size_t begin, size_t end) {
      ScaleBytes(codes + begin, LoadScale(payload, s), &out[begin - first], end - begin);
    });
  }

  const size_t length_;
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters =
      new std::vector<SpecParameter>{SubBlockParameter("block", "256")};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& values) {
  GRADWIRE_ASSIGN_OR_RETURN(const size_t length, SubBlockLength(values, "block"));
  return std::make_unique<Int8>(length);
}

}  // namespace

// For the table in registry.cc.
CodecEntry Int8Entry() {
  return {.name = "int8",
          .id = v1::CODEC_INT8,
          .summary = "a byte a coordinate, and a scale for each sub-block",
          .error = "mu >= 1 - block / 64516",
          .up = "n + 4 n / block",
          .down = "the same; or 4 n",
          .linear = "no",
          .source = "Dettmers et al. 2022, absmax quantisation",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
