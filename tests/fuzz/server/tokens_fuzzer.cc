// SPDX-License-Identifier: Apache-2.0
// A tokens file from any bytes: refused in words that show no token, or every line that has one
// is found again with its role.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_split.h"
#include "server/tokens.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto tokens = gradwire::Tokens::Parse(text);
  if (!tokens.ok()) {
    const bool named = tokens.status().code() == absl::StatusCode::kInvalidArgument &&
                       !tokens.status().message().empty();
    if (!named) std::abort();
    return 0;
  }
  size_t lines = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.empty() || line.front() == '#') continue;
    ++lines;
    const auto grant = tokens->Find(words[1]);
    if (!grant.has_value() || gradwire::RoleName(grant->role) != words[0]) std::abort();
    if ((words.size() == 3) == grant->worker_id.empty()) std::abort();
  }
  if (lines != tokens->size() || tokens->Find("").has_value()) std::abort();
  return 0;
}
