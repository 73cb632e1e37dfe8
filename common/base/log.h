// SPDX-License-Identifier: Apache-2.0
// Log lines to stderr, through spdlog, without its headers in ours.
#pragma once

#include "absl/strings/string_view.h"

namespace gradwire {

// kJson: each line is an object with time (UTC, RFC 3339), level (info, warning or error), program
// and message.
enum class LogFormat { kText, kJson };

// `program` stands in every line.  Call once, first thing in main; without it
// lines still appear, unnamed.
void SetUpLogging(absl::string_view program, LogFormat format = LogFormat::kText);

// Thread-safe, as the next.
void LogInfo(absl::string_view message);
void LogWarning(absl::string_view message);
void LogError(absl::string_view message);

// Why the program ends with an error: its last line.
void LogEnd(absl::string_view reason);

}  // namespace gradwire
