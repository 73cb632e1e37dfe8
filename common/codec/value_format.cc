// SPDX-License-Identifier: Apache-2.0
// Implementation of value_format.h, in chunks that stay in the first-level cache.
#include "common/codec/value_format.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/kernels/casts.h"
#include "common/kernels/vector.h"

namespace gradwire {
namespace {

constexpr size_t kChunk = 1024;
using Floats = std::array<float, kChunk>;
using Halves = std::array<uint16_t, kChunk>;

// Both for up to kChunk values in a 16-bit format.
void Narrow(ValueFormat format, const float* x, size_t n, Halves* out) {
  format == ValueFormat::kBf16 ? FloatToBf16(x, out->data(), n) : FloatToFp16(x, out->data(), n);
}
void Widen(ValueFormat format, const Halves& x, size_t n, float* out) {
  format == ValueFormat::kBf16 ? Bf16ToFloat(x.data(), out, n) : Fp16ToFloat(x.data(), out, n);
}

void AppendBytes(const void* values, size_t bytes, std::string* out) {
  out->append(static_cast<const char*>(values), bytes);
}

}  // namespace

SpecParameter ValuesParameter() {
  return {.name = "values",
          .kind = SpecParameter::Kind::kWord,
          .default_value = "fp32",
          .words = {"fp32", "bf16", "fp16"},
          .help = "format of the values on the wire"};
}

ValueFormat ValueFormatOf(const SpecValues& values) {
  const std::string& word = values.Word("values");
  return word == "bf16"   ? ValueFormat::kBf16
         : word == "fp16" ? ValueFormat::kFp16
                          : ValueFormat::kFp32;
}

size_t ValueBytes(ValueFormat format) {
  return format == ValueFormat::kFp32 ? sizeof(float) : sizeof(uint16_t);
}

void AppendValues(ValueFormat format, absl::Span<const float> values, std::string* out) {
  if (format == ValueFormat::kFp32) {
    return AppendBytes(values.data(), values.size() * sizeof(float), out);
  }
  Halves halves;
  for (size_t i = 0; i < values.size(); i += kChunk) {
    const size_t n = std::min(kChunk, values.size() - i);
    Narrow(format, &values[i], n, &halves);
    AppendBytes(halves.data(), n * sizeof(uint16_t), out);
  }
}

void AppendValuesKeepRest(ValueFormat format, absl::Span<float> values, std::string* out) {
  if (format == ValueFormat::kFp32) {
    AppendValues(format, values, out);
    std::fill(values.begin(), values.end(), 0.0f);
    return;
  }
  Halves halves;
  Floats decoded;
  for (size_t i = 0; i < values.size(); i += kChunk) {
    const size_t n = std::min(kChunk, values.size() - i);
    Narrow(format, &values[i], n, &halves);
    AppendBytes(halves.data(), n * sizeof(uint16_t), out);
    Widen(format, halves, n, decoded.data());
    Subtract(decoded.data(), &values[i], n);
  }
}

EncodedValues::EncodedValues(ValueFormat format, absl::string_view bytes)
    : format_(format), bytes_(bytes) {}

void EncodedValues::Load(size_t i, absl::Span<float> out) const {
  const char* from = bytes_.data() + i * ValueBytes(format_);
  if (format_ == ValueFormat::kFp32) {
    if (!out.empty()) std::memcpy(out.data(), from, out.size() * sizeof(float));
    return;
  }
  Halves halves;
  for (size_t j = 0; j < out.size(); j += kChunk) {
    const size_t n = std::min(kChunk, out.size() - j);
    std::memcpy(halves.data(), from + j * sizeof(uint16_t), n * sizeof(uint16_t));
    Widen(format_, halves, n, &out[j]);
  }
}

size_t EncodedValues::FirstRefused(const float* sum) const {
  Floats values;
  for (size_t i = 0; i < size(); i += kChunk) {
    const size_t n = std::min(kChunk, size() - i);
    Load(i, absl::MakeSpan(values.data(), n));
    const size_t bad = sum == nullptr ? FirstNonFinite(values.data(), n)
                                      : FirstNonFiniteSum(sum + i, 1.0f, values.data(), n);
    if (bad != n) return i + bad;
  }
  return size();
}

size_t EncodedValues::Accumulate(Accumulator* sum) const {
  const bool first = sum->payloads == 0;
  const size_t refused = FirstRefused(first ? nullptr : sum->sums.data());
  if (refused != size()) return refused;
  if (first) {
    sum->sums.resize(size());
    Load(0, absl::MakeSpan(sum->sums));
  } else {
    Floats values;
    for (size_t i = 0; i < size(); i += kChunk) {
      const size_t n = std::min(kChunk, size() - i);
      Load(i, absl::MakeSpan(values.data(), n));
      Add(values.data(), &sum->sums[i], n);
    }
  }
  ++sum->payloads;
  return size();
}

absl::Status RefusedValue(absl::string_view codec, size_t coordinate, float value, float sum) {
  if (!std::isfinite(value)) {
    return absl::InvalidArgumentError(absl::StrCat(
        codec, ": coordinate ", coordinate, " has the value ", value, "; values must be finite"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat(codec, ": coordinate ", coordinate, " has the value ", value,
                   ", which added to the sum of the others, ", sum,
                   ", is beyond the float limit of ", std::numeric_limits<float>::max()));
}

}  // namespace gradwire
