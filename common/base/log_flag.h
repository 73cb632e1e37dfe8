// SPDX-License-Identifier: Apache-2.0
// Defines --log_format, of every program that runs for long.
#pragma once

#include <string>

#include "absl/flags/declare.h"
#include "absl/strings/string_view.h"
#include "common/base/log.h"

namespace gradwire {

bool AbslParseFlag(absl::string_view text, LogFormat* format, std::string* error);
std::string AbslUnparseFlag(LogFormat format);

}  // namespace gradwire

ABSL_DECLARE_FLAG(gradwire::LogFormat, log_format);
