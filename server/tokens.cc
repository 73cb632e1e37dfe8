// SPDX-License-Identifier: Apache-2.0
// Implementation of tokens.h.
#include "server/tokens.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/file_system.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rpc/limits.h"
#include "common/rpc/token.h"

namespace gradwire {
namespace {

constexpr size_t kMaxFileBytes = size_t{8} << 20;

using Digest = std::array<uint8_t, SHA256_DIGEST_LENGTH>;

Digest DigestOf(absl::string_view bytes) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return digest;
}

bool IsVisible(absl::string_view text) {
  for (const char c : text) {
    if (!absl::ascii_isgraph(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

absl::StatusOr<TokenGrant> ParseGrant(const std::vector<absl::string_view>& words) {
  if (words.size() < 2 || words.size() > 3) {
    return absl::InvalidArgumentError("not of the form: ROLE TOKEN [worker=ID]");
  }
  TokenGrant grant;
  if (!ParseRole(words[0], &grant.role)) {
    return absl::InvalidArgumentError("its role is none of worker, follower and admin");
  }
  GRADWIRE_RETURN_IF_ERROR(CheckToken(words[1]));
  if (words.size() == 2) return grant;
  absl::string_view id = words[2];
  if (!absl::ConsumePrefix(&id, "worker=") || id.empty() || id.size() > kMaxTextBytes ||
      !IsVisible(id)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "its third word is not worker=ID with an id of 1 to ", kMaxTextBytes, " characters"));
  }
  if (grant.role != Role::kWorker) {
    return absl::InvalidArgumentError("worker=ID is only for the role worker");
  }
  grant.worker_id = std::string(id);
  return grant;
}

}  // namespace

absl::StatusOr<Tokens> Tokens::Parse(absl::string_view text) {
  Tokens tokens;
  std::set<Digest> seen;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StartsWith(line, "#")) continue;
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.empty()) continue;
    absl::StatusOr<TokenGrant> grant = ParseGrant(words);
    if (!grant.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": ", grant.status().message()));
    }
    const Digest digest = DigestOf(words[1]);
    if (!seen.insert(digest).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": its token stands on an earlier line too"));
    }
    if (tokens.entries_.size() == kMaxTokens) {
      return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxTokens, " tokens"));
    }
    tokens.entries_.push_back({digest, *std::move(grant)});
  }
  if (tokens.entries_.empty()) {
    return absl::InvalidArgumentError("no token in it: nobody could do anything");
  }
  return tokens;
}

std::optional<TokenGrant> Tokens::Find(absl::string_view token) const {
  const Digest digest = DigestOf(token);
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {  // all of them, always
    const bool same = CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0;
    found = same ? &entry : found;
  }
  if (found == nullptr) return std::nullopt;
  return found->grant;
}

absl::StatusOr<std::shared_ptr<TokenStore>> TokenStore::Open(std::string path) {
  absl::StatusOr<std::string> text = PosixFileSystem()->Read(path, kMaxFileBytes);
  absl::StatusOr<Tokens> tokens = text.ok() ? Tokens::Parse(*text) : text.status();
  if (!tokens.ok()) {
    return absl::Status(tokens.status().code(),
                        absl::StrCat("--tokens=", path, ": ", tokens.status().message()));
  }
  return std::shared_ptr<TokenStore>(
      new TokenStore(std::move(path), *std::move(text), *std::move(tokens)));
}

TokenStore::TokenStore(std::string path, std::string text, Tokens tokens)
    : path_(std::move(path)),
      text_(std::move(text)),
      tokens_(std::make_shared<const Tokens>(std::move(tokens))) {}

void TokenStore::Poll() {
  absl::StatusOr<std::string> text = PosixFileSystem()->Read(path_, kMaxFileBytes);
  MutexLock lock(&mu_);
  if (text.ok() && *text == text_) {
    stats_.failing = false;
    last_error_ = absl::OkStatus();
    return;
  }
  absl::StatusOr<Tokens> tokens = text.ok() ? Tokens::Parse(*text) : text.status();
  if (tokens.ok()) {
    LogInfo(absl::StrCat("--tokens=", path_, ": ", tokens->size(), " tokens from now on"));
    text_ = *std::move(text);
    tokens_ = std::make_shared<const Tokens>(*std::move(tokens));
    ++stats_.reloads;
    stats_.failing = false;
    last_error_ = absl::OkStatus();
    return;
  }
  const bool again = tokens.status() == last_error_;
  last_error_ = tokens.status();
  if (!again || stats_.failing) return;
  stats_.failing = true;
  ++stats_.reload_errors;
  LogError(absl::StrCat("--tokens=", path_, ": ", tokens.status().message(),
                        "; the tokens from before stay in use"));
}

std::optional<TokenGrant> TokenStore::Find(absl::string_view token) const {
  std::shared_ptr<const Tokens> tokens;
  {
    MutexLock lock(&mu_);
    tokens = tokens_;
  }
  return tokens->Find(token);
}

TokenStore::Stats TokenStore::stats() const {
  MutexLock lock(&mu_);
  return stats_;
}

}  // namespace gradwire
