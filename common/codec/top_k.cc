// SPDX-License-Identifier: Apache-2.0
// The codec `top_k`: the k values of greatest magnitude of each block, exactly; of
// equal ones the lowest coordinate.
//
//   payload = indices values        ; up: k coordinates; down: all that any payload named
//   indices = see index_coding.h
//   values  = *( fp32 / bf16 / fp16 )     ; the parameter `values`: one for each coordinate that
//                                         ; indices names, in ascending order
//   k       = max(1, floor(ratio n + 0.5)), n the block's size
//
// In a dense payload of a worker, coordinates beyond the k are zero.
// Contraction |C(x) - x|^2 <= (1 - mu)|x|^2 with mu = k/n (Stich, Cordonnier, Jaggi,
// NeurIPS 2018); not linear.
#include "common/codec/top_k.h"

#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/codec/index_coding.h"
#include "common/codec/value_format.h"
#include "common/kernels/select.h"
#include "common/kernels/vector.h"
#include "common/random/index_set.h"

namespace gradwire {
namespace {

// A payload taken apart; `values` points into it.
struct Parts {
  DecodedIndices where;
  absl::string_view values;
};

absl::Status Prefixed(const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("top_k: ", status.message()));
}

size_t CountMarks(const std::vector<uint64_t>& touched) {
  size_t count = 0;
  for (const uint64_t word : touched) count += static_cast<size_t>(std::popcount(word));
  return count;
}

class TopK final : public Codec {
 public:
  TopK(double ratio, ValueFormat format) : ratio_(ratio), format_(format) {}

  v1::CodecId id() const override { return v1::CODEC_TOP_K; }
  bool linear() const override { return false; }

  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const override {
    SetFloatEnvironment();
    std::vector<uint32_t> indices;
    SelectLargest(values.data(), key.size, IndexSetSize(ratio_, key.size), &indices);
    payload->clear();
    AppendIndices(indices, key.size, payload);
    const bool dense = IndexFormFor(indices.size(), key.size) == IndexForm::kDense;
    std::vector<float> sent(dense ? key.size : indices.size(), 0.0f);
    for (size_t i = 0; i < indices.size(); ++i) {
      sent[dense ? indices[i] : i] = values[indices[i]];
    }
    AppendValuesKeepRest(format_, absl::MakeSpan(sent), payload);
    for (size_t i = 0; i < indices.size(); ++i) {
      values[indices[i]] = sent[dense ? indices[i] : i];
    }
  }

  absl::Status Accumulate(const BlockKey& key, absl::string_view payload,
                          Accumulator* sum) const override {
    SetFloatEnvironment();
    Parts parts;
    GRADWIRE_RETURN_IF_ERROR(Split(key, payload, &parts));
    const size_t k = IndexSetSize(ratio_, key.size);
    const bool right = parts.where.dense ? IndexFormFor(k, key.size) == IndexForm::kDense
                                         : parts.where.indices.size() == k;
    if (!right) {
      return absl::InvalidArgumentError(
          absl::StrCat("top_k: a worker's payload names ",
                       parts.where.dense ? key.size : parts.where.indices.size(),
                       " coordinates of ", key.size, "; the codec's ratio gives ", k));
    }
    return parts.where.dense ? AddDense(key, parts, sum) : AddSparse(key, parts, sum);
  }

  void Mean(const BlockKey& key, const Accumulator& sum, BlockValues* mean) const override {
    SetFloatEnvironment();
    const size_t count = CountMarks(sum.touched);
    mean->dense = IndexFormFor(count, key.size) == IndexForm::kDense;
    mean->indices.clear();
    if (mean->dense) {
      mean->values = sum.sums;
    } else {
      mean->indices.reserve(count);
      mean->values.clear();
      mean->values.reserve(count);
      for (size_t word = 0; word < sum.touched.size(); ++word) {
        for (uint64_t bits = sum.touched[word]; bits != 0; bits &= bits - 1) {
          const size_t index = 64 * word + static_cast<size_t>(std::countr_zero(bits));
          mean->indices.push_back(static_cast<uint32_t>(index));
          mean->values.push_back(sum.sums[index]);
        }
      }
    }
    Divide(mean->values.data(), static_cast<float>(sum.payloads), mean->values.data(),
           mean->values.size());
  }

  void EncodeUpdate(const BlockKey& key, const BlockValues& mean,
                    std::string* payload) const override {
    SetFloatEnvironment();
    payload->clear();
    if (mean.dense) {
      payload->push_back(static_cast<char>(IndexForm::kDense));
      return AppendValues(format_, mean.values, payload);
    }
    AppendIndices(mean.indices, key.size, payload);
    if (IndexFormFor(mean.indices.size(), key.size) != IndexForm::kDense) {
      return AppendValues(format_, mean.values, payload);
    }
    std::vector<float> all(key.size, 0.0f);
    for (size_t i = 0; i < mean.indices.size(); ++i) all[mean.indices[i]] = mean.values[i];
    AppendValues(format_, all, payload);
  }

  absl::Status DecodeUpdate(const BlockKey& key, absl::string_view payload,
                            BlockValues* update) const override {
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

 private:
  absl::Status Split(const BlockKey& key, absl::string_view payload, Parts* parts) const {
    parts->values = payload;
    const absl::Status taken = TakeIndices(key.size, &parts->values, &parts->where);
    if (!taken.ok()) return Prefixed(taken);
    const size_t count = parts->where.dense ? key.size : parts->where.indices.size();
    const size_t wanted = count * ValueBytes(format_);
    if (parts->values.size() == wanted) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("top_k: ", parts->values.size(),
                                                   " bytes follow the indices; ", count,
                                                   " values have ", wanted));
  }

  absl::Status AddDense(const BlockKey& key, const Parts& parts, Accumulator* sum) const {
    const EncodedValues values(format_, parts.values);
    const size_t refused = values.Accumulate(sum);
    if (refused != values.size()) {
      return Refuse(parts, values, refused, sum->payloads > 0 ? sum->sums[refused] : 0.0f);
    }
    sum->touched.assign((key.size + 63) / 64, ~uint64_t{0});  // bits beyond the block: still dense
    return absl::OkStatus();
  }

  absl::Status AddSparse(const BlockKey& key, const Parts& parts, Accumulator* sum) const {
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
      sum->touched.assign((key.size + 63) / 64, 0);
    }
    for (size_t i = 0; i < indices.size(); ++i) {
      float& total = sum->sums[indices[i]];
      total = total + values[i];
      sum->touched[indices[i] / 64] |= uint64_t{1} << (indices[i] % 64);
    }
    ++sum->payloads;
    return absl::OkStatus();
  }

  static absl::Status Refuse(const Parts& parts, const EncodedValues& values, size_t i, float sum) {
    float value;
    values.Load(i, absl::MakeSpan(&value, 1));
    return RefusedValue("top_k", parts.where.dense ? i : parts.where.indices[i], value, sum);
  }

  const double ratio_;
  const ValueFormat format_;
};

}  // namespace

const std::vector<SpecParameter>& TopKParameters() {
  static const auto* const parameters = new std::vector<SpecParameter>{
      {.name = "ratio", .max = 1, .open_min = true, .help = "share of coordinates that is sent"},
      ValuesParameter()};
  return *parameters;
}

std::unique_ptr<Codec> MakeTopK(const SpecValues& values) {
  return std::make_unique<TopK>(values.Number("ratio"), ValueFormatOf(values));
}

}  // namespace gradwire
