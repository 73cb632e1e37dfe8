// SPDX-License-Identifier: Apache-2.0
// The codec `random_k`: k coordinates of each block, drawn by (seed, step, block)
// alike at every worker, so that no index travels.
//
//   payload = k value         ; up and down, in ascending order of the coordinates
//   value   = fp32 / bf16 / fp16          ; the parameter `values`
//   k       = max(1, floor(ratio n + 0.5)), n the block's size
//
// Which coordinates: common/random/index_set.h, purpose kIndexSet.  Not scaled by n/k:
// the error feedback brings the rest.  Contraction E|C(x) - x|^2 = (1 - mu)|x|^2 with mu = k/n,
// exactly (stratified: when k divides n; otherwise the mean over coordinates of 1/length of their
// stratum stands for k/n).  Linear: the mean of payloads is the payload of the mean, and
// Avdiukhin and Yaroslavtsev (NeurIPS 2021) need no reset of the residual.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/codec/registry.h"
#include "common/codec/value_format.h"
#include "common/kernels/vector.h"
#include "common/random/index_set.h"

namespace gradwire {
namespace {

class RandomK final : public Codec {
 public:
  RandomK(double ratio, IndexSetLaw law, ValueFormat format)
      : ratio_(ratio), law_(law), format_(format) {}

  v1::CodecId id() const override { return v1::CODEC_RANDOM_K; }
  CodecTraits traits() const override {
    return {.linear = true, .alone = Alone::kCoordinates, .kept_at_random = ratio_};
  }

  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const override {
    EncodeRuns(key, {}, values, payload);
  }

  void AddAndEncode(const BlockKey& key, absl::Span<const float> gradient,
                    absl::Span<float> residual, std::string* payload) const override {
    EncodeRuns(key, gradient, residual, payload);
  }

  absl::Status Accumulate(const BlockKey& key, absl::string_view payload,
                          Accumulator* sum) const override {
    SetFloatEnvironment();
    GRADWIRE_RETURN_IF_ERROR(CheckLength(key, payload));
    const EncodedValues values(format_, payload);
    const size_t refused = values.Accumulate(sum);
    return refused == values.size() ? absl::OkStatus() : Refuse(key, values, refused, sum);
  }

  void Mean(const BlockKey& key, const Accumulator& sum, BlockValues* mean) const override {
    SetFloatEnvironment();
    mean->dense = false;
    FillIndices(key, &mean->indices);
    mean->values.resize(sum.sums.size());
    Divide(sum.sums.data(), static_cast<float>(sum.payloads), mean->values.data(), sum.sums.size());
  }

  void EncodeUpdate(const BlockKey& /*key*/, const BlockValues& mean,
                    std::string* payload) const override {
    SetFloatEnvironment();
    payload->clear();
    AppendValues(format_, mean.values, payload);
  }

  absl::Status DecodeUpdate(const BlockKey& key, absl::string_view payload,
                            BlockValues* update) const override {
    GRADWIRE_RETURN_IF_ERROR(CheckUpdate(key, payload, update));
    LoadUpdate(key, payload, update);
    return absl::OkStatus();
  }

  absl::Status CheckUpdate(const BlockKey& key, absl::string_view payload,
                           BlockValues* /*scratch*/) const override {
    SetFloatEnvironment();
    GRADWIRE_RETURN_IF_ERROR(CheckLength(key, payload));
    const EncodedValues values(format_, payload);
    const size_t refused = values.FirstRefused(nullptr);
    return refused == values.size() ? absl::OkStatus() : Refuse(key, values, refused, nullptr);
  }

  void LoadUpdate(const BlockKey& key, absl::string_view payload,
                  BlockValues* update) const override {
    SetFloatEnvironment();
    const EncodedValues values(format_, payload);
    update->dense = false;
    FillIndices(key, &update->indices);
    update->values.resize(values.size());
    values.Load(0, absl::MakeSpan(update->values));
  }

 private:
  // The coordinates that are sent are looked up while their surroundings are in the cache: the
  // gradient, if any, is added to `values` run by run.
  void EncodeRuns(const BlockKey& key, absl::Span<const float> gradient, absl::Span<float> values,
                  std::string* payload) const {
    constexpr size_t kRun = 8192;  // coordinates
    SetFloatEnvironment();
    std::vector<uint32_t> indices;
    FillIndices(key, &indices);
    std::vector<float> sent(indices.size());
    payload->clear();
    payload->reserve(indices.size() * ValueBytes(format_));
    size_t next = 0;
    for (size_t begin = 0; begin < values.size(); begin += kRun) {
      const size_t end = std::min(begin + kRun, values.size());
      if (!gradient.empty()) {
        AddScaled(key.unit, &gradient[begin], &values[begin], end - begin);
      }
      const size_t first = next;
      for (; next < indices.size() && indices[next] < end; ++next) {
        sent[next] = values[indices[next]];
      }
      AppendValuesKeepRest(format_, absl::MakeSpan(sent).subspan(first, next - first), payload);
      for (size_t i = first; i < next; ++i) values[indices[i]] = sent[i];
    }
  }

  void FillIndices(const BlockKey& key, std::vector<uint32_t>* indices) const {
    const RandomKey random = {
        .seed = key.seed, .purpose = Purpose::kIndexSet, .step = key.step, .block = key.number()};
    FillIndexSet(law_, random, key.size, IndexSetSize(ratio_, key.size), indices);
  }

  absl::Status CheckLength(const BlockKey& key, absl::string_view payload) const {
    const size_t k = IndexSetSize(ratio_, key.size);
    const size_t wanted = k * ValueBytes(format_);
    if (payload.size() == wanted) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("random_k: the payload has ", payload.size(), " bytes; ", k, " of ", key.size,
                     " coordinates in ", ValueBytes(format_), " bytes each have ", wanted));
  }

  absl::Status Refuse(const BlockKey& key, const EncodedValues& values, size_t i,
                      const Accumulator* sum) const {
    std::vector<uint32_t> indices;
    FillIndices(key, &indices);
    float value;
    values.Load(i, absl::MakeSpan(&value, 1));
    const bool added = sum != nullptr && sum->payloads > 0;
    return RefusedValue("random_k", indices[i], value, added ? sum->sums[i] : 0.0f);
  }

  const double ratio_;
  const IndexSetLaw law_;
  const ValueFormat format_;
};

IndexSetLaw LawOf(const SpecValues& values) {
  const std::string& word = values.Word("set");
  return word == "uniform"   ? IndexSetLaw::kUniform
         : word == "strided" ? IndexSetLaw::kStrided
                             : IndexSetLaw::kStratified;
}

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>{
      {.name = "ratio", .max = 1, .open_min = true, .help = "share of coordinates that is sent"},
      {.name = "set",
       .kind = SpecParameter::Kind::kWord,
       .default_value = "stratified",
       .words = {"stratified", "uniform", "strided"},
       .help = "law by which coordinates are drawn"},
      ValuesParameter()};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& values) {
  return std::make_unique<RandomK>(values.Number("ratio"), LawOf(values), ValueFormatOf(values));
}

}  // namespace

// For the table in registry.cc.
CodecEntry RandomKEntry() {
  return {.name = "random_k",
          .id = v1::CODEC_RANDOM_K,
          .summary = "k coordinates, drawn alike at every worker",
          .error = "mu = k/n",
          .up = "4 k, no index",
          .down = "4 k",
          .linear = "yes",
          .source = "Stich, Cordonnier, Jaggi 2018; Avdiukhin, Yaroslavtsev 2021",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
