// SPDX-License-Identifier: Apache-2.0
// The codec `two_bit`: each coordinate as -t, 0 or t, t being a threshold; the residual
// collects until it reaches the threshold.
//
//   up    = threshold codes
//   threshold = fp32          ; t = tau, times the learning rate when payloads are in update units;
//                             ; finite, not negative
//   codes = ceil(n / 4) bytes             ; two bits each, from the lowest bit of each byte up: 0
//                             ; stands for 0, 1 for t (x >= t), 2 for -t (x <= -t); 3 is refused;
//                             ; codes from n on are zero
//   down  = n fp32
//
// Not contractive: |C(x) - x| is |x| for |x| < t and ||x| - t| from there on, so what is beyond t
// drains by t a step (MXNet's 2-bit gradient compression, which codes 11 for t and 10 for -t).
// Only with classic error feedback.  Not linear.
#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/little_endian.h"
#include "common/base/status_macros.h"
#include "common/codec/dense_aggregate.h"
#include "common/codec/registry.h"
#include "common/codec/sub_blocks.h"
#include "common/kernels/levels.h"

namespace gradwire {
namespace {

constexpr int kWidth = 2;  // of a code, in bits
constexpr uint8_t kRefusedCode = 3;
using Codes = std::array<uint8_t, kDenseRun>;

constexpr size_t CodeBytes(size_t n) { return (n + 3) / 4; }

void LoadCodes(absl::string_view payload, size_t first, size_t n, Codes* codes) {
  const char* from = payload.data() + sizeof(float) + CodeBytes(first);
  UnpackCodes(reinterpret_cast<const uint8_t*>(from), kWidth, codes->data(), n);
}

class TwoBit final : public DenseAggregateCodec {
 public:
  explicit TwoBit(float tau) : tau_(tau) {}

  v1::CodecId id() const override { return v1::CODEC_TWO_BIT; }
  CodecTraits traits() const override { return {.only_its_feedback = true, .compact = false}; }

  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const override {
    SetFloatEnvironment();
    const float threshold = FiniteFloat(double{tau_} * double{key.unit});
    payload->clear();
    AppendLittleEndian(threshold, payload);
    payload->resize(sizeof(float) + CodeBytes(key.size));
    auto* out = reinterpret_cast<uint8_t*>(&(*payload)[sizeof(float)]);
    Codes codes;
    for (size_t first = 0; first < key.size; first += kDenseRun) {
      const size_t n = std::min(kDenseRun, key.size - first);
      for (size_t i = 0; i < n; ++i) {
        const float value = values[first + i];
        const int above = value >= threshold ? 1 : 0;
        const int below = value <= -threshold ? 1 : 0;
        codes[i] = static_cast<uint8_t>(above | (below & ~above) << 1);
      }
      PackCodes(codes.data(), kWidth, out + CodeBytes(first), n);
    }
    KeepRest(key, *payload, values);
  }

 private:
  absl::string_view name() const override { return "two_bit"; }

  absl::Status Check(const BlockKey& key, absl::string_view payload) const override {
    const size_t bytes = CodeBytes(key.size);
    GRADWIRE_RETURN_IF_ERROR(
        CheckScaledPayload(name(), payload, 1, bytes, 8 * bytes - 2 * key.size));
    Codes codes;
    for (size_t first = 0; first < key.size; first += kDenseRun) {
      const size_t n = std::min(kDenseRun, key.size - first);
      LoadCodes(payload, first, n, &codes);
      const auto* bad = std::find(codes.data(), codes.data() + n, kRefusedCode);
      if (bad == codes.data() + n) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("two_bit: coordinate ", first + static_cast<size_t>(bad - codes.data()),
                       " has the code ", kRefusedCode, "; the greatest is ", kRefusedCode - 1));
    }
    return absl::OkStatus();
  }

  void DecodeRun(const BlockKey& /*key*/, absl::string_view payload, size_t first,
                 absl::Span<float> out) const override {
    const float threshold = LoadScale(payload, 0);
    const std::array<float, 3> values = {0.0f, threshold, -threshold};
    Codes codes;
    LoadCodes(payload, first, out.size(), &codes);
    for (size_t i = 0; i < out.size(); ++i) out[i] = values[codes[i]];
  }

  const float tau_;
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters =
      new std::vector<SpecParameter>{{.name = "tau",
                                      .default_value = "0.005",
                                      .min = 1e-30,
                                      .max = 1e30,
                                      .help = "threshold, in units of the gradient"}};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& values) {
  return std::make_unique<TwoBit>(static_cast<float>(values.Number("tau")));
}

}  // namespace

// For the table in registry.cc.
CodecEntry TwoBitEntry() {
  return {.name = "two_bit",
          .id = v1::CODEC_TWO_BIT,
          .summary = "a threshold of either sign, or nothing",
          .error = "no mu: what is beyond tau drains by tau a step",
          .up = "n/4",
          .down = "the same; or 4 n",
          .linear = "no",
          .source = "MXNet's 2-bit gradient compression",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
