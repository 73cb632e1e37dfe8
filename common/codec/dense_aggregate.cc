// SPDX-License-Identifier: Apache-2.0
// Implementation of dense_aggregate.h: a payload is looked at before it is added, so that a refused
// one has changed nothing.
#include "common/codec/dense_aggregate.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/codec/value_format.h"
#include "common/kernels/vector.h"

namespace gradwire {
namespace {

using Run = std::array<float, kDenseRun>;

constexpr float kFar = 1e38f;  // so far from the greatest float that no rounding of a bound matters

}  // namespace

absl::Status DenseAggregateCodec::Accumulate(const BlockKey& key, absl::string_view payload,
                                             Accumulator* sum) const {
  SetFloatEnvironment();
  GRADWIRE_RETURN_IF_ERROR(Check(key, payload));
  const bool first = sum->payloads == 0;
  const float most = MaxDecoded(key, payload);
  const float bound = first ? most : sum->bound + most;
  if (!(bound <= kFar)) GRADWIRE_RETURN_IF_ERROR(CheckValues(key, payload, *sum));
  if (first) sum->sums.resize(key.size);
  Run run;
  for (size_t i = 0; i < key.size; i += kDenseRun) {
    const size_t n = std::min(kDenseRun, key.size - i);
    DecodeRun(key, payload, i, absl::MakeSpan(first ? &sum->sums[i] : run.data(), n));
    if (!first) Add(run.data(), &sum->sums[i], n);
  }
  sum->bound = bound;
  ++sum->payloads;
  return absl::OkStatus();
}

// The greatest magnitude; infinite when a value is not finite.
float DenseAggregateCodec::MaxDecoded(const BlockKey& key, absl::string_view payload) const {
  float most = 0;
  Run run;
  for (size_t i = 0; i < key.size; i += kDenseRun) {
    const size_t n = std::min(kDenseRun, key.size - i);
    DecodeRun(key, payload, i, absl::MakeSpan(run.data(), n));
    most = std::max(most, MaxMagnitude(run.data(), n));
  }
  return most;
}

absl::Status DenseAggregateCodec::CheckValues(const BlockKey& key, absl::string_view payload,
                                              const Accumulator& sum) const {
  const bool first = sum.payloads == 0;
  Run run;
  for (size_t i = 0; i < key.size; i += kDenseRun) {
    const size_t n = std::min(kDenseRun, key.size - i);
    DecodeRun(key, payload, i, absl::MakeSpan(run.data(), n));
    const size_t bad = first ? FirstNonFinite(run.data(), n)
                             : FirstNonFiniteSum(&sum.sums[i], 1.0f, run.data(), n);
    if (bad != n) return RefusedValue(name(), i + bad, run[bad], first ? 0 : sum.sums[i + bad]);
  }
  return absl::OkStatus();
}

void DenseAggregateCodec::Mean(const BlockKey& /*key*/, const Accumulator& sum,
                               BlockValues* mean) const {
  SetFloatEnvironment();
  mean->dense = true;
  mean->indices.clear();
  mean->values.resize(sum.sums.size());
  Divide(sum.sums.data(), static_cast<float>(sum.payloads), mean->values.data(), sum.sums.size());
}

void DenseAggregateCodec::EncodeUpdate(const BlockKey& /*key*/, const BlockValues& mean,
                                       std::string* payload) const {
  payload->clear();
  AppendValues(ValueFormat::kFp32, mean.values, payload);
}

absl::Status DenseAggregateCodec::DecodeUpdate(const BlockKey& key, absl::string_view payload,
                                               BlockValues* update) const {
  GRADWIRE_RETURN_IF_ERROR(CheckUpdate(key, payload, nullptr));
  LoadUpdate(key, payload, update);
  return absl::OkStatus();
}

absl::Status DenseAggregateCodec::CheckUpdate(const BlockKey& key, absl::string_view payload,
                                              BlockValues* /*scratch*/) const {
  if (payload.size() != sizeof(float) * key.size) {
    return absl::InvalidArgumentError(
        absl::StrCat(name(), ": the update has ", payload.size(), " bytes; ", key.size,
                     " coordinates in fp32 have ", sizeof(float) * key.size));
  }
  const EncodedValues values(ValueFormat::kFp32, payload);
  const size_t refused = values.FirstRefused(nullptr);
  if (refused == values.size()) return absl::OkStatus();
  float value;
  values.Load(refused, absl::MakeSpan(&value, 1));
  return RefusedValue(name(), refused, value, 0);
}

void DenseAggregateCodec::LoadUpdate(const BlockKey& key, absl::string_view payload,
                                     BlockValues* update) const {
  update->dense = true;
  update->indices.clear();
  update->values.resize(key.size);
  EncodedValues(ValueFormat::kFp32, payload).Load(0, absl::MakeSpan(update->values));
}

void DenseAggregateCodec::KeepRest(const BlockKey& key, absl::string_view payload,
                                   absl::Span<float> values) const {
  Run run;
  for (size_t i = 0; i < values.size(); i += kDenseRun) {
    const size_t n = std::min(kDenseRun, values.size() - i);
    DecodeRun(key, payload, i, absl::MakeSpan(run.data(), n));
    Subtract(run.data(), &values[i], n);
  }
}

}  // namespace gradwire
