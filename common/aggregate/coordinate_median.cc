// SPDX-License-Identifier: Apache-2.0
// The aggregator `coordinate_median`: of each coordinate, the median of the members' values; for an
// even number of members the mean of the two in the middle, added in double.
//
// Withstands fewer than half of the members (Yin, Chen, Ramchandran, Bartlett, ICML 2018).  Of one
// or two members it is the mean.
#include "common/aggregate/middle.h"
#include "common/aggregate/registry.h"

namespace gradwire {
namespace {

class CoordinateMedian final : public Aggregator {
 public:
  AggregatorTraits traits() const override { return {.per_coordinate = true}; }

  size_t withstands(size_t members) const override { return (members - 1) / 2; }

  void Combine(const MemberRows& members, absl::Span<float> out) const override {
    MeanOfMiddle(members, (members.rows.size() - 1) / 2, out);
  }
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>();
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Aggregator>> Make(const SpecValues& /*values*/) {
  return std::make_unique<CoordinateMedian>();
}

}  // namespace

// For the table in registry.cc.
AggregatorEntry CoordinateMedianEntry() {
  return {.name = "coordinate_median",
          .summary = "of each coordinate, the median",
          .withstands = "fewer than n/2",
          .codecs = "identity, bf16, fp16, int8, random_k",
          .source = "Yin, Chen, Ramchandran, Bartlett 2018",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
