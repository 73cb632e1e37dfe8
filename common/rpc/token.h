// SPDX-License-Identifier: Apache-2.0
// A bearer token, and the file in which a client has its own:
//
//   file  = token [ LF ]
//   token = 16*512( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" / "=" )
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwire {

inline constexpr size_t kMinTokenBytes = 16;
inline constexpr size_t kMaxTokenBytes = 512;

// InvalidArgument says what is wrong with it, and never shows it.
absl::Status CheckToken(absl::string_view token);

// The token in the file at `path`.  Errors name --token_file and the path.
absl::StatusOr<std::string> ReadTokenFile(const std::string& path);

}  // namespace gradwire
