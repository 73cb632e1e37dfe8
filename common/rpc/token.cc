// SPDX-License-Identifier: Apache-2.0
// Implementation of token.h.
#include "common/rpc/token.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/file_system.h"

namespace gradwire {
namespace {

constexpr size_t kMaxFileBytes = 4096;

bool MayBeInToken(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         absl::string_view("-._~+/=").find(c) != absl::string_view::npos;
}

}  // namespace

absl::Status CheckToken(absl::string_view token) {
  if (token.size() < kMinTokenBytes || token.size() > kMaxTokenBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a token of ", token.size(), " characters: it has ", kMinTokenBytes, " to ",
                     kMaxTokenBytes, ", as openssl rand -hex 32 makes it"));
  }
  for (size_t i = 0; i < token.size(); ++i) {
    if (!MayBeInToken(token[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat("character ", i + 1, " of a token is none of letters, digits and -._~+/="));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadTokenFile(const std::string& path) {
  absl::StatusOr<std::string> text = PosixFileSystem()->Read(path, kMaxFileBytes);
  absl::Status status = text.status();
  if (text.ok()) {
    text = std::string(absl::StripSuffix(*text, "\n"));
    status = CheckToken(*text);
  }
  if (status.ok()) return text;
  return absl::Status(status.code(), absl::StrCat("--token_file=", path, ": ", status.message()));
}

}  // namespace gradwire
