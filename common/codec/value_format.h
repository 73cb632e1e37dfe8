// SPDX-License-Identifier: Apache-2.0
// How a codec writes values: in 4 bytes or 2, little-endian, one after another.
//
//   fp32  IEEE binary32, exact
//   bf16  the upper half of a binary32, rounded to nearest even
//   fp16  IEEE binary16, rounded to nearest even
//
// What is beyond the greatest finite value of bf16 (3.39e38) or fp16 (65504) is written as
// that value: error feedback keeps the rest for later steps.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/spec.h"
#include "common/codec/codec.h"

namespace gradwire {

enum class ValueFormat { kFp32, kBf16, kFp16 };

// The parameter `values` of a codec, and what it says.
SpecParameter ValuesParameter();
ValueFormat ValueFormatOf(const SpecValues& values);

size_t ValueBytes(ValueFormat format);

// Appends the values, rounded to `format`.
void AppendValues(ValueFormat format, absl::Span<const float> values, std::string* out);

// The same, and leaves in `values` what rounding took off: value - decoded.  Zero for fp32.
void AppendValuesKeepRest(ValueFormat format, absl::Span<float> values, std::string* out);

// Values as they stand in a payload: a view, which copies nothing.
class EncodedValues {
 public:
  // `bytes` holds a whole number of values.
  EncodedValues(ValueFormat format, absl::string_view bytes);

  size_t size() const { return bytes_.size() / ValueBytes(format_); }

  // out[j] = value i + j; i + out.size() <= size().
  void Load(size_t i, absl::Span<float> out) const;

  // The first i for which value i, or sum[i] + value i if `sum` is not null, is
  // NaN or infinite; or size().
  size_t FirstRefused(const float* sum) const;

  // Adds all to sum->sums, value i to sums[i]; the first payload of a round overwrites.
  // Returns size(), or FirstRefused() with nothing changed.
  size_t Accumulate(Accumulator* sum) const;

 private:
  const ValueFormat format_;
  const absl::string_view bytes_;
};

// InvalidArgument for `value` at a coordinate of a block; `sum` is what it was to be
// added to, 0 if nothing.
absl::Status RefusedValue(absl::string_view codec, size_t coordinate, float value, float sum);

}  // namespace gradwire
