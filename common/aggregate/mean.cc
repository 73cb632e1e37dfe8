// SPDX-License-Identifier: Apache-2.0
// The aggregator `mean`: what the codec makes of the sum of payloads, whoever sent them.
#include "common/aggregate/registry.h"

namespace gradwire {
namespace {

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>();
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Aggregator>> Make(const SpecValues& /*values*/) { return nullptr; }

}  // namespace

// For the table in registry.cc.
AggregatorEntry MeanEntry() {
  return {.name = "mean",
          .summary = "the mean of all members",
          .withstands = "none",
          .codecs = "all",
          .source = "",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
