// SPDX-License-Identifier: Apache-2.0
// The files of the page, which are part of the program: page/ as of the build.
#pragma once

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace gradwire {

struct PageFile {
  absl::string_view path;  // in URLs
  absl::string_view type;
  absl::string_view content;
};
absl::Span<const PageFile> PageFiles();

}  // namespace gradwire
