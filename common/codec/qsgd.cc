// SPDX-License-Identifier: Apache-2.0
// The codec `qsgd`: each coordinate rounded by chance to one of `levels` parts of its
// bucket's norm, either sign.
//
//   up    = norms codes
//   norms = *fp32             ; for each bucket |x|_2, or max |x| with norm=max; finite, not
//                             ; negative; one beyond the greatest float is written as that
//   codes = ceil(n w / 8) bytes           ; n codes of w bits, from the lowest bit of each byte up;
//                             ; what is left of the last byte is zero
//   code  = 0 .. 2 levels     ; levels + l: the coordinate is norm * (l / levels), in fp32
//   w     = bits of 2 levels: ceil(log2(2 levels + 1))
//   down  = n fp32
//
// l = sign(x) floor(r + u), r = levels |x| / norm (cut to 32 binary places), u = word / 2^32,
// words as in rounding.h.  So E C(x) = x, but for 2^-32 of a level and the rounding of a product
// to fp32; and E|C(x) - x|^2 = sum of (norm / levels)^2 f (1 - f), f the fraction of r, which for
// the norm l2 is at most omega |x|^2 with omega = min(m / levels^2, sqrt(m) / levels), m the
// bucket's size (Alistarh, Grubic, Li, Tomioka, Vojnovic, NeurIPS 2017), and for the norm max at
// most m / (4 levels^2) max(x)^2.  Not linear.
#include <algorithm>
#include <array>
#include <bit>
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

constexpr int kMaxLevels = 127;  // codes of a byte
using Codes = std::array<uint8_t, kDenseRun>;

class Qsgd final : public DenseAggregateCodec {
 public:
  Qsgd(int levels, size_t bucket, bool max_norm)
      : levels_(levels),
        width_(std::bit_width(2u * static_cast<unsigned>(levels))),
        bucket_(bucket),
        max_norm_(max_norm) {
    for (int code = 0; code <= 2 * levels_; ++code) {
      shares_[static_cast<size_t>(code)] =
          static_cast<float>(code - levels_) / static_cast<float>(levels_);
    }
  }

  v1::CodecId id() const override { return v1::CODEC_QSGD; }
  CodecTraits traits() const override { return {.feedback = Feedback::kNone, .compact = false}; }

  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const override {
    SetFloatEnvironment();
    payload->clear();
    const SubBlocks buckets(key.size, bucket_);
    buckets.ForEachIn(0, key.size, [&](size_t, size_t begin, size_t end) {
      AppendLittleEndian(NormOf(values.subspan(begin, end - begin)), payload);
    });
    const size_t norm_bytes = payload->size();
    payload->resize(norm_bytes + CodeBytes(key.size));
    auto* out = reinterpret_cast<uint8_t*>(&(*payload)[norm_bytes]);
    for (size_t first = 0; first < key.size; first += kDenseRun) {
      const size_t n = std::min(kDenseRun, key.size - first);
      EncodeRun(key, buckets, *payload, first, values.subspan(first, n), out + CodeBytes(first));
    }
    KeepRest(key, *payload, values);
  }

 private:
  absl::string_view name() const override { return "qsgd"; }

  float NormOf(absl::Span<const float> values) const {
    if (max_norm_) return GreatestMagnitude(values.data(), values.size());
    return FiniteFloat(std::sqrt(SumOfSquares(values.data(), values.size())));
  }

  size_t CodeBytes(size_t n) const { return (n * static_cast<size_t>(width_) + 7) / 8; }

  void EncodeRun(const BlockKey& key, const SubBlocks& buckets, absl::string_view payload,
                 size_t first, absl::Span<const float> values, uint8_t* out) const {
    std::array<uint32_t, kDenseRun> words;
    std::array<int8_t, kDenseRun> rounded;
    Codes codes;
    FillRoundingWords(key, first, absl::MakeSpan(words.data(), values.size()));
    buckets.ForEachIn(first, first + values.size(), [&](size_t b, size_t begin, size_t end) {
      const size_t i = begin - first;
      RoundToLevels(&values[i], &words[i], LoadScale(payload, b), levels_, &rounded[i],
                    end - begin);
    });
    for (size_t i = 0; i < values.size(); ++i) {
      codes[i] = static_cast<uint8_t>(levels_ + rounded[i]);
    }
    PackCodes(codes.data(), width_, out, values.size());
  }

  absl::Status Check(const BlockKey& key, absl::string_view payload) const override {
    const size_t norms = SubBlocks(key.size, bucket_).count();
    const size_t bytes = CodeBytes(key.size);
    GRADWIRE_RETURN_IF_ERROR(CheckScaledPayload(
        name(), payload, norms, bytes, 8 * bytes - key.size * static_cast<size_t>(width_)));
    Codes codes;
    for (size_t first = 0; first < key.size; first += kDenseRun) {
      const size_t n = std::min(kDenseRun, key.size - first);
      LoadCodes(norms, payload, first, n, &codes);
      const auto* bad = std::find_if(codes.data(), codes.data() + n,
                                     [this](uint8_t code) { return code > 2 * levels_; });
      if (bad == codes.data() + n) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "qsgd: coordinate ", first + static_cast<size_t>(bad - codes.data()), " has the code ",
          *bad, "; with ", levels_, " levels the greatest is ", 2 * levels_));
    }
    return absl::OkStatus();
  }

  void DecodeRun(const BlockKey& key, absl::string_view payload, size_t first,
                 absl::Span<float> out) const override {
    const SubBlocks buckets(key.size, bucket_);
    Codes codes;
    LoadCodes(buckets.count(), payload, first, out.size(), &codes);
    buckets.ForEachIn(first, first + out.size(), [&](size_t b, size_t begin, size_t end) {
      const float norm = LoadScale(payload, b);
      for (size_t i = begin - first; i < end - first; ++i) out[i] = norm * shares_[codes[i]];
    });
  }

  void LoadCodes(size_t norms, absl::string_view payload, size_t first, size_t n,
                 Codes* codes) const {
    const char* from = payload.data() + norms * sizeof(float) + CodeBytes(first);
    UnpackCodes(reinterpret_cast<const uint8_t*>(from), width_, codes->data(), n);
  }

  const int levels_;
  const int width_;
  const size_t bucket_;
  const bool max_norm_;
  std::array<float, 2 * kMaxLevels + 1> shares_ = {};  // by code
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>{
      {.name = "levels",
       .default_value = "7",
       .min = 1,
       .max = kMaxLevels,
       .help = "values above zero that a coordinate can have, a whole number"},
      SubBlockParameter("bucket", "512"),
      {.name = "norm",
       .kind = SpecParameter::Kind::kWord,
       .default_value = "l2",
       .words = {"l2", "max"},
       .help = "what is cut into levels: |x|_2 or max |x| of the bucket"}};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& values) {
  const double levels = values.Number("levels");
  if (levels != std::floor(levels)) {
    return absl::InvalidArgumentError(absl::StrCat("levels: ", levels, " is not a whole number"));
  }
  GRADWIRE_ASSIGN_OR_RETURN(const size_t bucket, SubBlockLength(values, "bucket"));
  return std::make_unique<Qsgd>(static_cast<int>(levels), bucket, values.Word("norm") == "max");
}

}  // namespace

// For the table in registry.cc.
CodecEntry QsgdEntry() {
  return {.name = "qsgd",
          .id = v1::CODEC_QSGD,
          .summary = "rounded by chance to levels of the bucket's norm",
          .error = "omega = min(m/levels^2, sqrt(m)/levels), m = bucket",
          .up = "n/2 with 7 levels, and 4 a bucket",
          .down = "the same; or 4 n",
          .linear = "no",
          .source = "Alistarh, Grubic, Li, Tomioka, Vojnovic 2017",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
