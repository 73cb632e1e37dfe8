// SPDX-License-Identifier: Apache-2.0
// Reads a whole data file into memory, within a bound.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace gradwire {

// NotFound, or InvalidArgument for what is not a regular file or is larger than
// kMaxDatasetValues bytes; each names the path.
absl::StatusOr<std::string> ReadDataFile(const std::string& path);

}  // namespace gradwire
