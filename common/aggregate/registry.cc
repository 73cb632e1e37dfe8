// SPDX-License-Identifier: Apache-2.0
// Implementation of registry.h: the table of aggregators.
#include "common/aggregate/registry.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

// One line an aggregator.  Its file defines `AggregatorEntry NAMEEntry()`.
#define GRADWIRE_AGGREGATORS(AGGREGATOR) \
  AGGREGATOR(Mean)                       \
  AGGREGATOR(TrimmedMean)                \
  AGGREGATOR(CoordinateMedian)           \
  AGGREGATOR(NormClip)

namespace gradwire {

#define GRADWIRE_DECLARE(NAME) AggregatorEntry NAME##Entry();
GRADWIRE_AGGREGATORS(GRADWIRE_DECLARE)
#undef GRADWIRE_DECLARE

absl::Span<const AggregatorEntry> AggregatorRegistry() {
#define GRADWIRE_ROW(NAME) NAME##Entry(),
  static const AggregatorEntry entries[] = {GRADWIRE_AGGREGATORS(GRADWIRE_ROW)};
#undef GRADWIRE_ROW
  return entries;
}

absl::StatusOr<std::unique_ptr<Aggregator>> MakeAggregator(absl::string_view spec) {
  for (const AggregatorEntry& entry : AggregatorRegistry()) {
    if (SpecName(spec) != entry.name) continue;
    GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values,
                              ParseSpecArguments(spec, entry.parameters()));
    return entry.make(values);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", spec, "\": no aggregator has this name; known: ",
      absl::StrJoin(AggregatorRegistry(), ", ", [](std::string* out, const AggregatorEntry& entry) {
        out->append(entry.name);
      })));
}

std::string AggregatorNames(const std::function<bool(const Aggregator*)>& fits) {
  std::vector<std::string> names;
  for (const AggregatorEntry& entry : AggregatorRegistry()) {
    const absl::StatusOr<std::unique_ptr<Aggregator>> made = MakeAggregator(entry.name);
    if (made.ok() && fits(made->get())) names.emplace_back(entry.name);
  }
  return absl::StrJoin(names, ", ");
}

}  // namespace gradwire
