// SPDX-License-Identifier: Apache-2.0
// Implementation of sparse_payload.h.
#include "common/codec/sparse_payload.h"

#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/kernels/vector.h"

namespace gradwire {
namespace {

bool IsDense(size_t count, size_t n) { return IndexFormFor(count, n) == IndexForm::kDense; }

size_t CountMarks(const std::vector<uint64_t>& touched) {
  size_t count = 0;
  for (const uint64_t word : touched) count += static_cast<size_t>(std::popcount(word));
  return count;
}

// Of the coordinates that are marked.
void GatherMarked(const Accumulator& sum, size_t count, BlockValues* values) {
  values->indices.clear();
  values->indices.reserve(count);
  values->values.clear();
  values->values.reserve(count);
  for (size_t word = 0; word < sum.bits.size(); ++word) {
    for (uint64_t bits = sum.bits[word]; bits != 0; bits &= bits - 1) {
      const size_t index = 64 * word + static_cast<size_t>(std::countr_zero(bits));
      values->indices.push_back(static_cast<uint32_t>(index));
      values->values.push_back(sum.sums[index]);
    }
  }
}

}  // namespace

void SparseCodec::Encode(const BlockKey& key, absl::Span<float> values,
                         std::string* payload) const {
  SetFloatEnvironment();
  std::vector<uint32_t> indices;
  Select(key, values, &indices);
  payload->clear();
  AppendIndices(indices, key.size, payload);
  const bool dense = IsDense(indices.size(), key.size);
  std::vector<float> sent(dense ? key.size : indices.size(), 0.0f);
  for (size_t i = 0; i < indices.size(); ++i) sent[dense ? indices[i] : i] = values[indices[i]];
  AppendValuesKeepRest(format_, absl::MakeSpan(sent), payload);
  for (size_t i = 0; i < indices.size(); ++i) values[indices[i]] = sent[dense ? indices[i] : i];
}

absl::Status SparseCodec::Accumulate(const BlockKey& key, absl::string_view payload,
                                     Accumulator* sum) const {
  SetFloatEnvironment();
  Parts parts;
  GRADWIRE_RETURN_IF_ERROR(Split(key, payload, &parts));
  GRADWIRE_RETURN_IF_ERROR(CheckCount(key, parts.where));
  return parts.where.dense ? AddDense(key, parts, sum) : AddSparse(key, parts, sum);
}

void SparseCodec::Mean(const BlockKey& key, const Accumulator& sum, BlockValues* mean) const {
  SetFloatEnvironment();
  const size_t count = CountMarks(sum.bits);
  mean->dense = IsDense(count, key.size);
  if (mean->dense) {
    mean->indices.clear();
    mean->values = sum.sums;
  } else {
    GatherMarked(sum, count, mean);
  }
  Divide(mean->values.data(), static_cast<float>(sum.payloads), mean->values.data(),
         mean->values.size());
}

void SparseCodec::EncodeUpdate(const BlockKey& key, const BlockValues& mean,
                               std::string* payload) const {
  SetFloatEnvironment();
  payload->clear();
  if (mean.dense) {
    payload->push_back(static_cast<char>(IndexForm::kDense));
    return AppendValues(format_, mean.values, payload);
  }
  AppendIndices(mean.indices, key.size, payload);
  if (!IsDense(mean.indices.size(), key.size)) {
    return AppendValues(format_, mean.values, payload);
  }
  std::vector<float> all(key.size, 0.0f);
  for (size_t i = 0; i < mean.indices.size(); ++i) all[mean.indices[i]] = mean.values[i];
  AppendValues(format_, all, payload);
}

absl::Status SparseCodec::DecodeUpdate(const BlockKey& key, absl::string_view payload,
                                       BlockValues* update) const {
  SetFloatEnvironment();
  Parts parts;
  GRADWIRE_RETURN_IF_ERROR(Split(key, payload, &parts));
  const EncodedValues values(format_, parts.values);
  const size_t refused = values.FirstRefused(nullptr);
  if (refused != values.size()) return Refuse(parts, values, refused, 0.0f);
  update->dense = parts.where.dense;
  update->indices = std::move(parts.where.indices);
  update->values.resize(values.size());
  values.Load(0, absl::MakeSpan(update->values));
  return absl::OkStatus();
}

absl::Status SparseCodec::Split(const BlockKey& key, absl::string_view payload,
                                Parts* parts) const {
  parts->values = payload;
  const absl::Status taken = TakeIndices(key.size, &parts->values, &parts->where);
  if (!taken.ok()) {
    return absl::Status(taken.code(), absl::StrCat(name_, ": ", taken.message()));
  }
  const size_t count = parts->where.dense ? key.size : parts->where.indices.size();
  const size_t wanted = count * ValueBytes(format_);
  if (parts->values.size() == wanted) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name_, ": ", parts->values.size(),
                                                 " bytes follow the indices; ", count,
                                                 " values have ", wanted));
}

absl::Status SparseCodec::CheckCount(const BlockKey& key, const DecodedIndices& where) const {
  const CountRange allowed = Counts(key);
  const size_t count = where.dense ? key.size : where.indices.size();
  const bool right = where.dense ? IsDense(allowed.most, key.size)
                                 : count >= allowed.least && count <= allowed.most;
  if (right) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name_, ": a worker's payload names ", count, " coordinates of ", key.size,
                   "; the codec's parameters give ", allowed.least, " to ", allowed.most));
}

absl::Status SparseCodec::AddDense(const BlockKey& key, const Parts& parts,
                                   Accumulator* sum) const {
  const EncodedValues values(format_, parts.values);
  const size_t refused = values.Accumulate(sum);
  if (refused != values.size()) {
    return Refuse(parts, values, refused, sum->payloads > 0 ? sum->sums[refused] : 0.0f);
  }
  sum->bits.assign((key.size + 63) / 64, ~uint64_t{0});  // bits beyond the block: still dense
  return absl::OkStatus();
}

absl::Status SparseCodec::AddSparse(const BlockKey& key, const Parts& parts,
                                    Accumulator* sum) const {
  const std::vector<uint32_t>& indices = parts.where.indices;
  const EncodedValues encoded(format_, parts.values);
  std::vector<float> values(indices.size());
  encoded.Load(0, absl::MakeSpan(values));
  const bool first = sum->payloads == 0;
  for (size_t i = 0; i < indices.size(); ++i) {
    const float before = first ? 0.0f : sum->sums[indices[i]];
    if (!std::isfinite(before + values[i])) return Refuse(parts, encoded, i, before);
  }
  if (first) {
    sum->sums.assign(key.size, 0.0f);
    sum->bits.assign((key.size + 63) / 64, 0);
  }
  for (size_t i = 0; i < indices.size(); ++i) {
    float& total = sum->sums[indices[i]];
    total = total + values[i];
    sum->bits[indices[i] / 64] |= uint64_t{1} << (indices[i] % 64);
  }
  ++sum->payloads;
  return absl::OkStatus();
}

absl::Status SparseCodec::Refuse(const Parts& parts, const EncodedValues& values, size_t i,
                                 float sum) const {
  float value;
  values.Load(i, absl::MakeSpan(&value, 1));
  return RefusedValue(name_, parts.where.dense ? i : parts.where.indices[i], value, sum);
}

}  // namespace gradwire
