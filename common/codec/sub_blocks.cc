// SPDX-License-Identifier: Apache-2.0
// Implementation of sub_blocks.h.
#include "common/codec/sub_blocks.h"

#include <cmath>
#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/little_endian.h"

namespace gradwire {
namespace {

constexpr size_t kWholeBytes = 8;  // sub-blocks of one bit a coordinate begin at a byte
constexpr double kMaxLength = 1 << 20;

}  // namespace

SpecParameter SubBlockParameter(absl::string_view name, absl::string_view default_value) {
  return {.name = std::string(name),
          .default_value = std::string(default_value),
          .max = kMaxLength,
          .help = "coordinates that share a scale, a multiple of 8; 0: the whole block"};
}

absl::StatusOr<size_t> SubBlockLength(const SpecValues& values, absl::string_view name) {
  const double length = values.Number(name);
  const auto whole = static_cast<size_t>(length);
  if (static_cast<double>(whole) == length && whole % kWholeBytes == 0) return whole;
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": ", length, " is not a multiple of ", kWholeBytes));
}

float FiniteFloat(double value) {
  constexpr float kGreatest = std::numeric_limits<float>::max();
  return value > kGreatest ? kGreatest : static_cast<float>(value);
}

float LoadScale(absl::string_view payload, size_t i) {
  return LoadLittleEndian<float>(payload.data() + i * sizeof(float));
}

absl::Status CheckScaledPayload(absl::string_view codec, absl::string_view payload, size_t scales,
                                size_t code_bytes, size_t unused_bits) {
  const size_t wanted = scales * sizeof(float) + code_bytes;
  if (payload.size() != wanted) {
    return absl::InvalidArgumentError(absl::StrCat(codec, ": the payload has ", payload.size(),
                                                   " bytes; ", scales, " scales and ", code_bytes,
                                                   " bytes of codes have ", wanted));
  }
  for (size_t i = 0; i < scales; ++i) {
    const float scale = LoadScale(payload, i);
    if (std::isfinite(scale) && scale >= 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(codec, ": scale ", i, " is ", scale,
                                                   "; scales must be finite and not negative"));
  }
  const unsigned last = code_bytes == 0 ? 0 : static_cast<uint8_t>(payload.back());
  if (last >> (8 - unused_bits) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(codec, ": the last byte is ", last, "; its upper ",
                                                 unused_bits,
                                                 " bits belong to no coordinate and must be zero"));
}

}  // namespace gradwire
