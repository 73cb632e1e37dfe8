// SPDX-License-Identifier: Apache-2.0
// The codec `identity`: everything, as it is.
//
//   payload = n fp32          ; up and down, n the block's size; coordinate 0 first
//
// Contraction mu = 1.  Linear.  The residual is always zero.
#include "common/codec/identity.h"

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/codec/value_format.h"
#include "common/kernels/vector.h"

namespace gradwire {
namespace {

class Identity final : public Codec {
 public:
  v1::CodecId id() const override { return v1::CODEC_IDENTITY; }
  bool linear() const override { return true; }

  void Encode(const BlockKey& /*key*/, absl::Span<float> values,
              std::string* payload) const override {
    SetFloatEnvironment();
    payload->clear();
    AppendValuesKeepRest(ValueFormat::kFp32, values, payload);
  }

  absl::Status Accumulate(const BlockKey& key, absl::string_view payload,
                          Accumulator* sum) const override {
    SetFloatEnvironment();
    GRADWIRE_RETURN_IF_ERROR(CheckLength(key, payload));
    const EncodedValues values(ValueFormat::kFp32, payload);
    const size_t refused = values.Accumulate(sum);
    return refused == values.size() ? absl::OkStatus() : Refuse(values, refused, sum);
  }

  void Mean(const BlockKey& /*key*/, const Accumulator& sum, BlockValues* mean) const override {
    SetFloatEnvironment();
    mean->dense = true;
    mean->indices.clear();
    mean->values.resize(sum.sums.size());
    Divide(sum.sums.data(), static_cast<float>(sum.payloads), mean->values.data(), sum.sums.size());
  }

  void EncodeUpdate(const BlockKey& /*key*/, const BlockValues& mean,
                    std::string* payload) const override {
    payload->clear();
    AppendValues(ValueFormat::kFp32, mean.values, payload);
  }

  absl::Status DecodeUpdate(const BlockKey& key, absl::string_view payload,
                            BlockValues* update) const override {
    GRADWIRE_RETURN_IF_ERROR(CheckLength(key, payload));
    const EncodedValues values(ValueFormat::kFp32, payload);
    const size_t refused = values.FirstRefused(nullptr);
    if (refused != values.size()) return Refuse(values, refused, nullptr);
    update->dense = true;
    update->indices.clear();
    update->values.resize(values.size());
    values.Load(0, absl::MakeSpan(update->values));
    return absl::OkStatus();
  }

 private:
  static absl::Status CheckLength(const BlockKey& key, absl::string_view payload) {
    if (payload.size() == sizeof(float) * key.size) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("identity: the payload has ", payload.size(),
                                                   " bytes; a block of ", key.size,
                                                   " coordinates has ", sizeof(float) * key.size));
  }

  static absl::Status Refuse(const EncodedValues& values, size_t i, const Accumulator* sum) {
    float value;
    values.Load(i, absl::MakeSpan(&value, 1));
    const bool added = sum != nullptr && sum->payloads > 0;
    return RefusedValue("identity", i, value, added ? sum->sums[i] : 0.0f);
  }
};

}  // namespace

const std::vector<SpecParameter>& IdentityParameters() {
  static const auto* const parameters = new std::vector<SpecParameter>();
  return *parameters;
}

std::unique_ptr<Codec> MakeIdentity(const SpecValues& /*values*/) {
  return std::make_unique<Identity>();
}

}  // namespace gradwire
