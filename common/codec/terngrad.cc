// SPDX-License-Identifier: Apache-2.0
// The codec `terngrad`: each coordinate rounded by chance to -s, 0 or s, s being the
// greatest magnitude of its sub-block after clipping.
//
//   up     = scales digits
//   scales = *fp32            ; s of each sub-block; finite, not negative
//   digits = ceil(n / 5) bytes            ; d0 + 3 d1 + 9 d2 + 27 d3 + 81 d4, at most 242: digits
//                             ; of five coordinates, 0 stands for 0, 1 for s, 2 for -s; those
//                             ; from n on are zero
//   down   = n fp32
//
// With x' = x clipped to [-c, c], c = clip * sqrt(|x|_2^2 / m), m the sub-block's size, and
// s = max |x'|: the digit is 1 or 2 with probability |x'| / s, that is for r + u >= 1, r = |x'| / s
// (cut to 32 binary places), u = word / 2^32, words as in rounding.h.  The deviation is taken about
// zero and not about the mean, so that a constant gradient, or a single one, is not clipped to
// nothing.  E C(x) = x', but for 2^-32 s, and
// E|C(x) - x|^2 = |x - x'|_2^2 + s |x'|_1 - |x'|_2^2 (Wen, Xu, Yan, Wu, Wang, Chen, Li, NIPS 2017);
// without clipping omega = max |x| |x|_1 / |x|_2^2 - 1 <= (sqrt(m) - 1) / 2.  Not linear.
#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/little_endian.h"
#include "common/base/status_macros.h"
#include "common/codec/dense_aggregate.h"
#include "common/codec/registry.h"
#include "common/codec/rounding.h"
#include "common/codec/sub_blocks.h"
#include "common/kernels/levels.h"
#include "common/kernels/vector.h"

namespace gradwire {
namespace {

constexpr size_t kDigits = 5;  // in a byte
constexpr std::array<uint8_t, kDigits> kPowers = {1, 3, 9, 27, 81};
constexpr uint8_t kGreatestByte = 242;  // 3^5 - 1

uint8_t DigitOf(uint8_t byte, size_t place) {
  return static_cast<uint8_t>(byte / kPowers[place] % 3);
}

class Terngrad final : public DenseAggregateCodec {
 public:
  Terngrad(double clip, size_t length) : clip_(clip), length_(length) {}

  v1::CodecId id() const override { return v1::CODEC_TERNGRAD; }
  CodecTraits traits() const override { return {.feedback = Feedback::kNone, .compact = false}; }

  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const override {
    SetFloatEnvironment();
    payload->clear();
    const SubBlocks parts(key.size, length_);
    parts.ForEachIn(0, key.size, [&](size_t, size_t begin, size_t end) {
      AppendLittleEndian(ScaleOf(values.subspan(begin, end - begin)), payload);
    });
    for (size_t first = 0; first < key.size; first += kDenseRun) {
      const size_t n = std::min(kDenseRun, key.size - first);
      EncodeRun(key, parts, first, values.subspan(first, n), payload);
    }
    KeepRest(key, *payload, values);
  }

 private:
  absl::string_view name() const override { return "terngrad"; }

  float ScaleOf(absl::Span<const float> values) const {
    const float greatest = GreatestMagnitude(values.data(), values.size());
    if (clip_ == 0) return greatest;
    const double mean_square =
        SumOfSquares(values.data(), values.size()) / static_cast<double>(values.size());
    return std::min(greatest, FiniteFloat(clip_ * std::sqrt(mean_square)));
  }

  // Appends to `payload`, which begins with the scales.
  static void EncodeRun(const BlockKey& key, const SubBlocks& parts, size_t first,
                        absl::Span<const float> values, std::string* payload) {
    std::array<uint32_t, kDenseRun> words;
    std::array<int8_t, kDenseRun> signs;
    FillRoundingWords(key, first, absl::MakeSpan(words.data(), values.size()));
    parts.ForEachIn(first, first + values.size(), [&](size_t s, size_t begin, size_t end) {
      const size_t i = begin - first;
      RoundToLevels(&values[i], &words[i], LoadScale(*payload, s), 1, &signs[i], end - begin);
    });
    for (size_t i = 0; i < values.size(); i += kDigits) {
      int byte = 0;
      for (size_t place = 0; place < std::min(kDigits, values.size() - i); ++place) {
        byte += (signs[i + place] < 0 ? 2 : signs[i + place]) * kPowers[place];
      }
      payload->push_back(static_cast<char>(byte));
    }
  }

  absl::Status Check(const BlockKey& key, absl::string_view payload) const override {
    const size_t scales = SubBlocks(key.size, length_).count();
    const size_t bytes = (key.size + kDigits - 1) / kDigits;
    GRADWIRE_RETURN_IF_ERROR(CheckScaledPayload(name(), payload, scales, bytes, 0));
    const absl::string_view digits = payload.substr(scales * sizeof(float));
    for (size_t i = 0; i < bytes; ++i) {
      // The last byte has no more digits than there are coordinates.
      const size_t count = std::min(kDigits, key.size - kDigits * i);
      const int greatest = count == kDigits ? kGreatestByte : kPowers[count] - 1;
      const auto byte = static_cast<uint8_t>(digits[i]);
      if (byte <= greatest) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("terngrad: the byte of the digits from coordinate ", kDigits * i, " is ",
                       byte, "; ", count, " ternary digits give ", greatest, " at most"));
    }
    return absl::OkStatus();
  }

  void DecodeRun(const BlockKey& key, absl::string_view payload, size_t first,
                 absl::Span<float> out) const override {
    const SubBlocks parts(key.size, length_);
    const char* digits = payload.data() + parts.count() * sizeof(float);
    parts.ForEachIn(first, first + out.size(), [&](size_t s, size_t begin, size_t end) {
      const float scale = LoadScale(payload, s);
      const std::array<float, 3> values = {0.0f, scale, -scale};
      for (size_t i = begin; i < end; ++i) {
        const auto byte = static_cast<uint8_t>(digits[i / kDigits]);
        out[i - first] = values[DigitOf(byte, i % kDigits)];
      }
    });
  }

  const double clip_;
  const size_t length_;
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>{
      {.name = "clip",
       .default_value = "2.5",
       .max = 1e6,
       .help = "values are clipped at so many standard deviations; 0: not at all"},
      SubBlockParameter("block", "0")};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& values) {
  GRADWIRE_ASSIGN_OR_RETURN(const size_t length, SubBlockLength(values, "block"));
  return std::make_unique<Terngrad>(values.Number("clip"), length);
}

}  // namespace

// For the table in registry.cc.
CodecEntry TerngradEntry() {
  return {.name = "terngrad",
          .id = v1::CODEC_TERNGRAD,
          .summary = "rounded by chance to the greatest magnitude or to zero",
          .error = "unclipped: omega = max|x| |x|_1 / |x|_2^2 - 1",
          .up = "n/5 and 4 a sub-block",
          .down = "the same; or 4 n",
          .linear = "no",
          .source = "Wen, Xu, Yan, Wu, Wang, Chen, Li 2017",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
