// SPDX-License-Identifier: Apache-2.0
// Whole files: read with a bound, written so that the name always holds a whole one.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/file_system.h"

namespace gradwire {

// Written beside `path`, synced and renamed; the new name is synced too.  On an error nothing of
// it remains, and the message names the path and the bytes wanted.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view bytes,
                                 FileSystem* files = PosixFileSystem());

// NotFound, PermissionDenied, ... as the system says; InvalidArgument beyond `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes,
                                     FileSystem* files = PosixFileSystem());

}  // namespace gradwire
