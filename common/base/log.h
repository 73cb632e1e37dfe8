// SPDX-License-Identifier: Apache-2.0
// Log lines to stderr, through spdlog, without its headers in ours.
#pragma once

#include "absl/strings/string_view.h"

namespace gradwire {

// `program` stands in every line.  Call once, first thing in main; without it
// lines still appear, unnamed.
void SetUpLogging(absl::string_view program);

// Thread-safe.
void LogInfo(absl::string_view message);
void LogWarning(absl::string_view message);
void LogError(absl::string_view message);

}  // namespace gradwire
