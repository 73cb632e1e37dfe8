// SPDX-License-Identifier: Apache-2.0
// Implementation of log_flag.h.
#include "common/base/log_flag.h"

#include "absl/flags/flag.h"

ABSL_FLAG(gradwire::LogFormat, log_format, gradwire::LogFormat::kText,
          "Of lines on stderr: text, or json, an object a line.");

namespace gradwire {

bool AbslParseFlag(absl::string_view text, LogFormat* format, std::string* error) {
  *format = text == "json" ? LogFormat::kJson : LogFormat::kText;
  if (text == "json" || text == "text") return true;
  *error = "it may be text or json";
  return false;
}

std::string AbslUnparseFlag(LogFormat format) {
  return format == LogFormat::kJson ? "json" : "text";
}

}  // namespace gradwire
