// SPDX-License-Identifier: Apache-2.0
// All optimizers by name.  A new one is a file of its own and a line in registry.cc.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/spec.h"
#include "common/optimizer/optimizer.h"

namespace gradwire {

struct OptimizerEntry {
  const char* name;
  const char* summary;
  const char* source;  // the paper, and the implementation whose details are followed
  const char* state;   // what is remembered, for people: "2 vectors"
  const std::vector<SpecParameter>& (*parameters)();
  absl::StatusOr<std::unique_ptr<Optimizer>> (*make)(const SpecValues& values);
};

absl::Span<const OptimizerEntry> OptimizerRegistry();

// From "sgd:lr=0.1,momentum=0.9".  InvalidArgument names what is wrong and what is allowed.
absl::StatusOr<std::unique_ptr<Optimizer>> MakeOptimizer(absl::string_view spec);

}  // namespace gradwire
