// SPDX-License-Identifier: Apache-2.0
// The codec `sign`: one bit a coordinate, and the mean magnitude of each sub-block.
//
//   up     = scales signs
//   scales = *fp32            ; for each sub-block the mean of |x|, finite, not negative
//   signs  = ceil(n / 8) bytes            ; bit i % 8 of byte i / 8 is coordinate i: 0 stands for
//                             ; its sub-block's scale, 1 for minus that; bits from n on are zero
//   down   = n fp32
//
// The bit is one for x < 0, so zero counts as positive.  Contraction, of each sub-block of m
// coordinates: |C(x) - x|^2 = (1 - mu)|x|^2 with mu = |x|_1^2 / (m |x|_2^2), which is between
// 1/m and 1, 2/pi for normal values (Karimireddy, Rebjock, Stich, Jaggi, ICML 2019).  Not linear.
#include "common/base/float_environment.h"
#include "common/base/little_endian.h"
#include "common/base/status_macros.h"
#include "common/codec/dense_aggregate.h"
#include "common/codec/registry.h"
#include "common/codec/sub_blocks.h"
#include "common/kernels/signs.h"

namespace gradwire {
namespace {

class Sign final : public DenseAggregateCodec {
 public:
  explicit Sign(size_t length) : length_(length) {}

  v1::CodecId id() const override { return v1::CODEC_SIGN; }
  CodecTraits traits() const override { return {.compact = false}; }

  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const override {
    SetFloatEnvironment();
    const SubBlocks parts(key.size, length_);
    std::string signs((key.size + 7) / 8, '\0');
    payload->clear();
    // A sub-block stays in the first-level cache from its sum to its rest.
    parts.ForEachIn(0, key.size, [&](size_t, size_t begin, size_t end) {
      const SignSums sums = SumBySign(&values[begin], end - begin);
      const double mean = (sums.above + sums.below) / static_cast<double>(end - begin);
      const float scale = FiniteFloat(mean);
      AppendLittleEndian(scale, payload);
      PackSignsTakeScale(scale, &values[begin], reinterpret_cast<uint8_t*>(&signs[begin / 8]),
                         end - begin);
    });
    payload->append(signs);
  }

 private:
  absl::string_view name() const override { return "sign"; }

  absl::Status Check(const BlockKey& key, absl::string_view payload) const override {
    const size_t bytes = (key.size + 7) / 8;
    return CheckScaledPayload(name(), payload, SubBlocks(key.size, length_).count(), bytes,
                              8 * bytes - key.size);
  }

  void DecodeRun(const BlockKey& key, absl::string_view payload, size_t first,
                 absl::Span<float> out) const override {
    const SubBlocks parts(key.size, length_);
    const auto* signs =
        reinterpret_cast<const uint8_t*>(payload.data()) + parts.count() * sizeof(float);
    parts.ForEachIn(first, first + out.size(), [&](size_t s, size_t begin, size_t end) {
      const float scale = LoadScale(payload, s);
      UnpackSigns(signs + begin / 8, scale, -scale, &out[begin - first], end - begin);
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
  return std::make_unique<Sign>(length);
}

}  // namespace

// For the table in registry.cc.
CodecEntry SignEntry() {
  return {.name = "sign",
          .id = v1::CODEC_SIGN,
          .summary = "the sign of each coordinate, times the mean magnitude",
          .error = "mu = |x|_1^2 / (n |x|_2^2)",
          .up = "n/8 and 4 a sub-block",
          .down = "the same; or 4 n",
          .linear = "no",
          .source = "Karimireddy, Rebjock, Stich, Jaggi 2019",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
