// SPDX-License-Identifier: Apache-2.0
// Reads data files; checks what they are before memory is taken.
#include "worker/data/file.h"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/data/dataset.h"

namespace gradwire {

absl::StatusOr<std::string> ReadDataFile(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return absl::NotFoundError(absl::StrCat("data file ", path, ": not there"));
  }
  if (!std::filesystem::is_regular_file(status)) {
    return absl::InvalidArgumentError(absl::StrCat("data file ", path, ": not a regular file"));
  }
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) {
    return absl::InvalidArgumentError(absl::StrCat("data file ", path, ": ", error.message()));
  }
  if (size > kMaxDatasetValues) {
    return absl::InvalidArgumentError(absl::StrCat(
        "data file ", path, ": ", size, " bytes, more than the limit of ", kMaxDatasetValues));
  }
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             std::fclose);
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("data file ", path));
  std::string bytes(size, '\0');
  const size_t got = std::fread(bytes.data(), 1, bytes.size(), file.get());
  if (got != size) {
    return absl::DataLossError(
        absl::StrCat("data file ", path, ": ", got, " of ", size, " bytes could be read"));
  }
  return bytes;
}

}  // namespace gradwire
