// SPDX-License-Identifier: Apache-2.0
// The codec `identity`: everything, as it is.
//
//   payload = n fp32          ; up and down, n the block's size; coordinate 0 first
//
// Contraction mu = 1.  Linear.  The residual is always zero.
#include "absl/strings/str_cat.h"
#include "common/codec/dense_aggregate.h"
#include "common/codec/registry.h"
#include "common/codec/value_format.h"

namespace gradwire {
namespace {

class Identity final : public DenseAggregateCodec {
 public:
  v1::CodecId id() const override { return v1::CODEC_IDENTITY; }
  CodecTraits traits() const override {
    return {.linear = true, .lossless = true, .alone = Alone::kCoordinates};
  }

  void Encode(const BlockKey& /*key*/, absl::Span<float> values,
              std::string* payload) const override {
    payload->clear();
    AppendValues(ValueFormat::kFp32, values, payload);
  }

 private:
  absl::string_view name() const override { return "identity"; }

  absl::Status Check(const BlockKey& key, absl::string_view payload) const override {
    if (payload.size() == sizeof(float) * key.size) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("identity: the payload has ", payload.size(),
                                                   " bytes; a block of ", key.size,
                                                   " coordinates has ", sizeof(float) * key.size));
  }

  void DecodeRun(const BlockKey& /*key*/, absl::string_view payload, size_t first,
                 absl::Span<float> out) const override {
    EncodedValues(ValueFormat::kFp32, payload).Load(first, out);
  }
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>();
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& /*values*/) {
  return std::make_unique<Identity>();
}

}  // namespace

// For the table in registry.cc.
CodecEntry IdentityEntry() {
  return {.name = "identity",
          .id = v1::CODEC_IDENTITY,
          .summary = "everything, as it is",
          .error = "mu = 1",
          .up = "4 n",
          .down = "4 n",
          .linear = "yes",
          .source = "",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
