// SPDX-License-Identifier: Apache-2.0
// The aggregator `trimmed_mean`: of each coordinate, the mean without the greatest and the least.
//
//   b      = floor(trim n), n the members whose payloads are used; as near below a whole number as
//            1e-9, that number
//   out[i] = mean of the n - 2 b middle values of coordinate i, added in ascending order in double
//
// Withstands b hostile members (Yin, Chen, Ramchandran, Bartlett, ICML 2018).
#include <algorithm>
#include <cmath>

#include "common/aggregate/middle.h"
#include "common/aggregate/registry.h"

namespace gradwire {
namespace {

class TrimmedMean final : public Aggregator {
 public:
  explicit TrimmedMean(double trim) : trim_(trim) {}

  AggregatorTraits traits() const override { return {.per_coordinate = true}; }

  size_t withstands(size_t members) const override {
    constexpr double kRounding = 1e-9;  // 0.29 x 100 is below 29
    const double share = std::floor(trim_ * static_cast<double>(members) + kRounding);
    return std::min(static_cast<size_t>(share), (members - 1) / 2);
  }

  void Combine(const MemberRows& members, absl::Span<float> out) const override {
    MeanOfMiddle(members, withstands(members.rows.size()), out);
  }

 private:
  const double trim_;
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>{
      {.name = "trim",
       .default_value = "0.25",
       .max = 0.5,
       .help = "share of members left out at either end; below 0.5"}};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Aggregator>> Make(const SpecValues& values) {
  if (values.Number("trim") == 0.5) {
    return absl::InvalidArgumentError("trim: 0.5 leaves nobody; choose less, or coordinate_median");
  }
  return std::make_unique<TrimmedMean>(values.Number("trim"));
}

}  // namespace

// For the table in registry.cc.
AggregatorEntry TrimmedMeanEntry() {
  return {.name = "trimmed_mean",
          .summary = "of each coordinate, the mean without the greatest and the least values",
          .withstands = "floor(trim n)",
          .codecs = "identity, bf16, fp16, int8, random_k",
          .source = "Yin, Chen, Ramchandran, Bartlett 2018",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
