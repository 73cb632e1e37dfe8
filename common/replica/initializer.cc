// SPDX-License-Identifier: Apache-2.0
// Implementation of initializer.h.
#include "common/replica/initializer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/spec.h"
#include "common/base/status_macros.h"
#include "common/random/counter.h"
#include "common/random/gaussian.h"

namespace gradwire {
namespace {

using Law = Initializer::Law;

constexpr size_t kChunk = size_t{1} << 18;  // values drawn with one key; part of every history
constexpr double kMaxScale = 1e30;

struct Fans {
  double in = 1;
  double out = 1;
};

Fans FansOf(absl::Span<const uint64_t> shape) {
  Fans fans;
  if (shape.size() < 2) {
    for (const uint64_t length : shape) fans.in = fans.out = static_cast<double>(length);
    return fans;
  }
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i != 0) fans.in *= static_cast<double>(shape[i]);
    if (i != 1) fans.out *= static_cast<double>(shape[i]);
  }
  return fans;
}

absl::StatusOr<Initializer> MakeWithScale(absl::string_view text, Law law, double min) {
  const SpecParameter scale = {.name = law == Law::kConstant ? "value" : "std",
                               .default_value = "",
                               .min = min,
                               .max = kMaxScale,
                               .help = ""};
  GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values, ParseSpecArguments(text, {scale}));
  return Initializer{.law = law, .scale = static_cast<float>(values.Number(scale.name))};
}

void FillNormal(const RandomKey& key, float std, absl::Span<float> values) {
  FillGaussians(key, values);
  for (float& value : values) value *= std;
}

// Symmetric about 0, inside (-bound, bound): bound * (2k + 1 - 2^24) / 2^24 for 24 random
// bits k.  The odd integer is exact in fp32.
void FillUniform(const RandomKey& key, float bound, absl::Span<float> values) {
  std::vector<uint32_t> words(values.size());
  FillRandomWords(key, absl::MakeSpan(words));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto odd = static_cast<int32_t>((words[i] >> 8) * 2 + 1) - (1 << 24);
    values[i] = bound * (static_cast<float>(odd) * 0x1p-24F);
  }
}

}  // namespace

void Initializer::FillChunk(const RandomKey& key, absl::Span<float> chunk) const {
  if (law == Law::kNormal) {
    FillNormal(key, scale, chunk);
  } else {
    FillUniform(key, scale, chunk);
  }
}

void Initializer::Fill(uint64_t seed, uint64_t tensor, absl::Span<float> values,
                       size_t begin) const {
  if (law == Law::kConstant) {
    std::fill(values.begin(), values.end(), scale);
    return;
  }
  while (!values.empty()) {
    const RandomKey key = {.seed = seed,
                           .purpose = Purpose::kInit,
                           .step = tensor,
                           .block = static_cast<uint32_t>(begin / kChunk)};
    const size_t skipped = begin % kChunk;  // of a chunk that is drawn from its first value on
    const absl::Span<float> chunk = values.first(std::min(values.size(), kChunk - skipped));
    if (skipped == 0) {
      FillChunk(key, chunk);
    } else {
      std::vector<float> whole(skipped + chunk.size());
      FillChunk(key, absl::MakeSpan(whole));
      std::copy_n(whole.data() + skipped, chunk.size(), chunk.data());
    }
    begin += chunk.size();
    values.remove_prefix(chunk.size());
  }
}

absl::StatusOr<Initializer> MakeInitializer(absl::string_view text,
                                            absl::Span<const uint64_t> shape) {
  const absl::string_view name = SpecName(text);
  if (name == "constant") return MakeWithScale(text, Law::kConstant, -kMaxScale);
  if (name == "normal") return MakeWithScale(text, Law::kNormal, 0);
  const Fans fans = FansOf(shape);
  const struct {
    const char* name;
    Law law;
    double square;
  } laws[] = {
      {"zeros", Law::kConstant, 0},
      {"he_normal", Law::kNormal, 2 / fans.in},
      {"he_uniform", Law::kUniform, 6 / fans.in},
      {"xavier_normal", Law::kNormal, 2 / (fans.in + fans.out)},
      {"xavier_uniform", Law::kUniform, 6 / (fans.in + fans.out)},
  };
  for (const auto& law : laws) {
    if (name != law.name) continue;
    GRADWIRE_RETURN_IF_ERROR(ParseSpecArguments(text, {}).status());
    return Initializer{.law = law.law, .scale = static_cast<float>(std::sqrt(law.square))};
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", text, "\": no initialisation \"", name,
      "\"; known: zeros, constant:V, normal:STD, he_normal, he_uniform, xavier_normal, "
      "xavier_uniform"));
}

}  // namespace gradwire
