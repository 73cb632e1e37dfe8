// SPDX-License-Identifier: Apache-2.0
// A small job, for tests of what is added to it.
#pragma once

#include <memory>
#include <string>

#include "common/replica/job.h"

namespace gradwire {

inline constexpr char kSmall[] = "model { logistic { inputs: 5 classes: 3 } } steps: 10\n";

inline absl::StatusOr<std::shared_ptr<const Job>> Make(const std::string& text) {
  auto config = ParseJobText(text);
  if (!config.ok()) return config.status();
  return MakeJob(*std::move(config));
}

}  // namespace gradwire
