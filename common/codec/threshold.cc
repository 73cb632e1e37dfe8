// SPDX-License-Identifier: Apache-2.0
// The codec `threshold`: every value of magnitude tau or more.
//
//   payload = indices values        ; see sparse_payload.h; a worker's names any number of
//                                   ; coordinates, none included
//
// tau is in gradient units: values in update units are compared with tau times the learning rate.
// Zero is never sent.  The error is absolute: |C(x) - x|^2 <= n tau^2, n the block's size.  No
// contraction: where all is below tau nothing goes out until the residual has grown.  Not linear.
// Source: Strom (Interspeech 2015), whose values are sent here as they are; Dutta et al. (AAAI
// 2020); GRACE compares with the signed greatest value, which sends every all-negative tensor.
#include "common/codec/registry.h"
#include "common/codec/sparse_payload.h"
#include "common/kernels/select.h"

namespace gradwire {
namespace {

class Threshold final : public SparseCodec {
 public:
  Threshold(float tau, ValueFormat format) : SparseCodec("threshold", format), tau_(tau) {}

  v1::CodecId id() const override { return v1::CODEC_THRESHOLD; }
  CodecTraits traits() const override { return {.compact = false}; }

 private:
  void Select(const BlockKey& key, absl::Span<const float> values,
              std::vector<uint32_t>* indices) const override {
    SelectAtLeast(values.data(), key.size, tau_ * key.unit, indices);
  }

  CountRange Counts(const BlockKey& key) const override { return {.least = 0, .most = key.size}; }

  const float tau_;
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>{
      {.name = "tau", .max = 1e30, .open_min = true, .help = "least magnitude that is sent"},
      ValuesParameter()};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& values) {
  return std::make_unique<Threshold>(static_cast<float>(values.Number("tau")),
                                     ValueFormatOf(values));
}

}  // namespace

// For the table in registry.cc.
CodecEntry ThresholdEntry() {
  return {.name = "threshold",
          .id = v1::CODEC_THRESHOLD,
          .summary = "every value of magnitude tau or more",
          .error = "|C(x) - x|^2 <= n tau^2; no contraction",
          .up = "4 bytes and the index for each that is sent",
          .down = "the same; or the union of the workers'",
          .linear = "no",
          .source = "Strom 2015; Dutta et al. 2020",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
