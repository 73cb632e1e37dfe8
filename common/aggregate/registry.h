// SPDX-License-Identifier: Apache-2.0
// All aggregators by name.  A new one is a file of its own, which defines its entry, and a line in
// registry.cc.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/aggregate/aggregator.h"
#include "common/base/spec.h"

namespace gradwire {

// Texts are for people: `gradwire list aggregators`, README.
struct AggregatorEntry {
  const char* name;
  const char* summary;
  const char* withstands;  // how many hostile members of n
  const char* codecs;      // with which it goes
  const char* source;      // paper
  const std::vector<SpecParameter>& (*parameters)();
  // Null: the codec's own mean, of payloads that nobody looks at one by one.
  absl::StatusOr<std::unique_ptr<Aggregator>> (*make)(const SpecValues& values);
};

absl::Span<const AggregatorEntry> AggregatorRegistry();

// From "trimmed_mean:trim=0.2"; null for "mean".  InvalidArgument names what is wrong and what is
// allowed.
absl::StatusOr<std::unique_ptr<Aggregator>> MakeAggregator(absl::string_view spec);

// The names of those that fit, "a, b", for messages; null stands for the codec's own mean.  Every
// aggregator can be made without parameters.
std::string AggregatorNames(const std::function<bool(const Aggregator*)>& fits);

}  // namespace gradwire
