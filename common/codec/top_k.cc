// SPDX-License-Identifier: Apache-2.0
// The codec `top_k`: the k values of greatest magnitude of each block, exactly; of
// equal ones the lowest coordinate.
//
//   payload = indices values        ; see sparse_payload.h; a worker's names k coordinates
//   k       = max(1, floor(ratio n + 0.5)), n the block's size
//
// Contraction |C(x) - x|^2 <= (1 - mu)|x|^2 with mu = k/n (Stich, Cordonnier, Jaggi,
// NeurIPS 2018); not linear.
#include "common/codec/registry.h"
#include "common/codec/sparse_payload.h"
#include "common/kernels/select.h"
#include "common/random/index_set.h"

namespace gradwire {
namespace {

class TopK final : public SparseCodec {
 public:
  TopK(double ratio, ValueFormat format) : SparseCodec("top_k", format), ratio_(ratio) {}

  v1::CodecId id() const override { return v1::CODEC_TOP_K; }
  CodecTraits traits() const override { return {.compact = false}; }

 private:
  void Select(const BlockKey& key, absl::Span<const float> values,
              std::vector<uint32_t>* indices) const override {
    SelectLargest(values.data(), key.size, IndexSetSize(ratio_, key.size), indices);
  }

  CountRange Counts(const BlockKey& key) const override {
    const size_t k = IndexSetSize(ratio_, key.size);
    return {.least = k, .most = k};
  }

  const double ratio_;
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>{
      {.name = "ratio", .max = 1, .open_min = true, .help = "share of coordinates that is sent"},
      ValuesParameter()};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& values) {
  return std::make_unique<TopK>(values.Number("ratio"), ValueFormatOf(values));
}

}  // namespace

// For the table in registry.cc.
CodecEntry TopKEntry() {
  return {.name = "top_k",
          .id = v1::CODEC_TOP_K,
          .summary = "the k values of greatest magnitude, exactly",
          .error = "mu >= k/n",
          .up = "4 k and 1 k of indices at 1 %",
          .down = "the same; or the union of the workers'",
          .linear = "no",
          .source = "Stich, Cordonnier, Jaggi 2018",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
