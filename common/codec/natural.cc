// SPDX-License-Identifier: Apache-2.0
// The codec `natural`: each coordinate rounded by chance to one of the two powers of two
// around it.
//
//   up        = exponents signs
//   exponents = n u8          ; e: 0 stands for 0, others for 2^(e - 127); 255 is refused
//   signs     = ceil(n / 8) bytes         ; bit i % 8 of byte i / 8 is coordinate i: 1 for x < 0;
//                             ; bits from n on are zero
//   down      = n fp32
//
// e = (bits + (word >> 9)) >> 23, bits being those of |x| in fp32 and words as in rounding.h: the
// fraction says with what probability the exponent is rounded up.  So E C(x) = x exactly, and
// E|C(x) - x|^2 = sum of 4^k f (1 - f) <= omega |x|^2 with omega = 1/8, where |x| = 2^k (1 + f)
// (Horvath, Ho, Horvath, Sahu, Canini, Richtarik, 2019).  Denormals are rounded to 0 or 2^-126 in
// the same way: unbiased, but beyond omega.  Above 2^127 there is no power of two to round up to,
// and 2^127 is sent: biased there, and only there.  Not linear.
#include <algorithm>
#include <array>
#include <bit>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/codec/dense_aggregate.h"
#include "common/codec/registry.h"
#include "common/codec/rounding.h"
#include "common/codec/sub_blocks.h"
#include "common/kernels/signs.h"

namespace gradwire {
namespace {

constexpr int kFractionBits = 23;
constexpr uint32_t kMagnitude = 0x7FFFFFFF;
constexpr uint32_t kGreatestExponent = 254;

size_t SignBytes(size_t n) { return (n + 7) / 8; }

class Natural final : public DenseAggregateCodec {
 public:
  v1::CodecId id() const override { return v1::CODEC_NATURAL; }
  CodecTraits traits() const override { return {.feedback = Feedback::kNone, .compact = false}; }

  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const override {
    SetFloatEnvironment();
    payload->resize(key.size + SignBytes(key.size));
    std::array<uint32_t, kDenseRun> words;
    for (size_t first = 0; first < key.size; first += kDenseRun) {
      const size_t n = std::min(kDenseRun, key.size - first);
      FillRoundingWords(key, first, absl::MakeSpan(words.data(), n));
      for (size_t i = first; i < first + n; ++i) {
        const uint32_t bits = std::bit_cast<uint32_t>(values[i]) & kMagnitude;
        const uint32_t rounded = (bits + (words[i - first] >> 9)) >> kFractionBits;
        (*payload)[i] = static_cast<char>(std::min(rounded, kGreatestExponent));
      }
    }
    PackSigns(values.data(), reinterpret_cast<uint8_t*>(&(*payload)[key.size]), key.size);
    KeepRest(key, *payload, values);
  }

 private:
  absl::string_view name() const override { return "natural"; }

  absl::Status Check(const BlockKey& key, absl::string_view payload) const override {
    const size_t signs = SignBytes(key.size);
    GRADWIRE_RETURN_IF_ERROR(
        CheckScaledPayload(name(), payload, 0, key.size + signs, 8 * signs - key.size));
    const size_t bad = payload.substr(0, key.size).find('\xFF');
    if (bad == absl::string_view::npos) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "natural: coordinate ", bad, " has the exponent 255; the greatest is ", kGreatestExponent));
  }

  void DecodeRun(const BlockKey& key, absl::string_view payload, size_t first,
                 absl::Span<float> out) const override {
    const char* signs = payload.data() + key.size + first / 8;
    UnpackSigns(reinterpret_cast<const uint8_t*>(signs), 1.0f, -1.0f, out.data(), out.size());
    for (size_t i = 0; i < out.size(); ++i) {
      const uint32_t exponent = static_cast<uint8_t>(payload[first + i]);
      out[i] *= std::bit_cast<float>(exponent << kFractionBits);
    }
  }
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>();
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& /*values*/) {
  return std::make_unique<Natural>();
}

}  // namespace

// For the table in registry.cc.
CodecEntry NaturalEntry() {
  return {.name = "natural",
          .id = v1::CODEC_NATURAL,
          .summary = "rounded by chance to a power of two",
          .error = "omega = 1/8",
          .up = "9/8 n",
          .down = "the same; or 4 n",
          .linear = "no",
          .source = "Horvath, Ho, Horvath, Sahu, Canini, Richtarik 2019",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
