// SPDX-License-Identifier: Apache-2.0
// The codec `one_bit`: one bit a coordinate, and of each sub-block the mean of what is
// below zero and the mean of what is not.
//
//   up    = means signs
//   means = *( fp32 fp32 )    ; for each sub-block the mean of its x >= 0, and that of -x for its
//                             ; x < 0; finite, not negative, zero where there is no such x
//   signs = ceil(n / 8) bytes             ; bit i % 8 of byte i / 8 is coordinate i: 0 stands for
//                             ; the first mean, 1 for minus the second; bits from n on are zero
//   down  = n fp32
//
// Contraction, of each sub-block: |C(x) - x|^2 = (1 - mu)|x|^2 with
// mu = (n+ m+^2 + n- m-^2) / |x|_2^2, n+ and n- being the numbers of coordinates and m+ and m- the
// means: at least that of `sign` (Seide, Fu, Droppo, Li, Yu, Interspeech 2014).  Not linear.
#include "common/base/float_environment.h"
#include "common/base/little_endian.h"
#include "common/base/status_macros.h"
#include "common/codec/dense_aggregate.h"
#include "common/codec/registry.h"
#include "common/codec/sub_blocks.h"
#include "common/kernels/signs.h"

namespace gradwire {
namespace {

float MeanOf(double sum, size_t count) {
  return count == 0 ? 0.0f : FiniteFloat(sum / static_cast<double>(count));
}

class OneBit final : public DenseAggregateCodec {
 public:
  explicit OneBit(size_t length) : length_(length) {}

  v1::CodecId id() const override { return v1::CODEC_ONE_BIT; }
  CodecTraits traits() const override { return {.compact = false}; }

  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const override {
    SetFloatEnvironment();
    payload->clear();
    SubBlocks(key.size, length_).ForEachIn(0, key.size, [&](size_t, size_t begin, size_t end) {
      const SignSums sums = SumBySign(&values[begin], end - begin);
      AppendLittleEndian(MeanOf(sums.above, end - begin - sums.count_below), payload);
      AppendLittleEndian(MeanOf(sums.below, sums.count_below), payload);
    });
    const size_t mean_bytes = payload->size();
    payload->resize(mean_bytes + (key.size + 7) / 8);
    PackSigns(values.data(), reinterpret_cast<uint8_t*>(&(*payload)[mean_bytes]), key.size);
    KeepRest(key, *payload, values);
  }

 private:
  absl::string_view name() const override { return "one_bit"; }

  absl::Status Check(const BlockKey& key, absl::string_view payload) const override {
    const size_t bytes = (key.size + 7) / 8;
    return CheckScaledPayload(name(), payload, 2 * SubBlocks(key.size, length_).count(), bytes,
                              8 * bytes - key.size);
  }

  void DecodeRun(const BlockKey& key, absl::string_view payload, size_t first,
                 absl::Span<float> out) const override {
    const SubBlocks parts(key.size, length_);
    const auto* signs =
        reinterpret_cast<const uint8_t*>(payload.data()) + 2 * parts.count() * sizeof(float);
    parts.ForEachIn(first, first + out.size(), [&](size_t s, size_t begin, size_t end) {
      UnpackSigns(signs + begin / 8, LoadScale(payload, 2 * s), -LoadScale(payload, 2 * s + 1),
                  &out[begin - first], end - begin);
    });
  }

  const size_t length_;
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters =
      new std::vector<SpecParameter>{SubBlockParameter("block", "4096")};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& values) {
  GRADWIRE_ASSIGN_OR_RETURN(const size_t length, SubBlockLength(values, "block"));
  return std::make_unique<OneBit>(length);
}

}  // namespace

// For the table in registry.cc.
CodecEntry OneBitEntry() {
  return {.name = "one_bit",
          .id = v1::CODEC_ONE_BIT,
          .summary = "the sign of each coordinate, and two means",
          .error = "mu = (n+ m+^2 + n- m-^2) / |x|_2^2",
          .up = "n/8 and 8 a sub-block",
          .down = "the same; or 4 n",
          .linear = "no",
          .source = "Seide, Fu, Droppo, Li, Yu 2014",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
