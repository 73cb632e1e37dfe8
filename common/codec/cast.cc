// SPDX-License-Identifier: Apache-2.0
// Implementation of cast.h.
#include "common/codec/cast.h"

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/kernels/vector.h"

namespace gradwire {

void Cast::Encode(const BlockKey& /*key*/, absl::Span<float> values, std::string* payload) const {
  SetFloatEnvironment();
  payload->clear();
  AppendValuesKeepRest(format_, values, payload);
}

absl::Status Cast::Accumulate(const BlockKey& key, absl::string_view payload,
                              Accumulator* sum) const {
  SetFloatEnvironment();
  GRADWIRE_RETURN_IF_ERROR(CheckLength(key, payload));
  const EncodedValues values(format_, payload);
  const size_t refused = values.Accumulate(sum);
  return refused == values.size() ? absl::OkStatus() : Refuse(values, refused, sum);
}

void Cast::Mean(const BlockKey& /*key*/, const Accumulator& sum, BlockValues* mean) const {
  SetFloatEnvironment();
  mean->dense = true;
  mean->indices.clear();
  mean->values.resize(sum.sums.size());
  Divide(sum.sums.data(), static_cast<float>(sum.payloads), mean->values.data(), sum.sums.size());
}

void Cast::EncodeUpdate(const BlockKey& /*key*/, const BlockValues& mean,
                        std::string* payload) const {
  SetFloatEnvironment();
  payload->clear();
  AppendValues(format_, mean.values, payload);
}

absl::Status Cast::DecodeUpdate(const BlockKey& key, absl::string_view payload,
                                BlockValues* update) const {
  SetFloatEnvironment();
  GRADWIRE_RETURN_IF_ERROR(CheckLength(key, payload));
  const EncodedValues values(format_, payload);
  const size_t refused = values.FirstRefused(nullptr);
  if (refused != values.size()) return Refuse(values, refused, nullptr);
  update->dense = true;
  update->indices.clear();
  update->values.resize(values.size());
  values.Load(0, absl::MakeSpan(update->values));
  return absl::OkStatus();
}

absl::Status Cast::CheckLength(const BlockKey& key, absl::string_view payload) const {
  const size_t wanted = key.size * ValueBytes(format_);
  if (payload.size() == wanted) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name_, ": the payload has ", payload.size(),
                                                 " bytes; a block of ", key.size,
                                                 " coordinates has ", wanted));
}

absl::Status Cast::Refuse(const EncodedValues& values, size_t i, const Accumulator* sum) const {
  float value;
  values.Load(i, absl::MakeSpan(&value, 1));
  const bool added = sum != nullptr && sum->payloads > 0;
  return RefusedValue(name_, i, value, added ? sum->sums[i] : 0.0f);
}

}  // namespace gradwire
