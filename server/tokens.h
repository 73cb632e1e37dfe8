// SPDX-License-Identifier: Apache-2.0
// The bearer tokens that a server accepts, as --tokens=FILE lists them:
//
//   file  = *( line LF )
//   line  = "" | "#" text | role SP token [ SP "worker=" id ]     ; SP: spaces or tabs
//   role  = "worker" | "follower" | "admin"
//   token = as of common/rpc/token.h
//   id    = 1*256 visible characters            ; only of a worker: no other id may use the token
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/mutex.h"
#include "server/role.h"

namespace gradwire {

struct TokenGrant {
  Role role = Role::kWorker;
  std::string worker_id;  // empty: any

  bool operator==(const TokenGrant& other) const {
    return role == other.role && worker_id == other.worker_id;
  }
};

// What a file says.  The tokens themselves are not kept: only their SHA-256.
class Tokens {
 public:
  static constexpr size_t kMaxTokens = 10000;

  // InvalidArgument names the line and what is wrong with it, never a token.
  static absl::StatusOr<Tokens> Parse(absl::string_view text);

  // Nothing: no such token.  Takes the same time whichever it is, and how much of it is right.
  std::optional<TokenGrant> Find(absl::string_view token) const;

  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::array<uint8_t, 32> digest;
    TokenGrant grant;
  };
  std::vector<Entry> entries_;
};

// The file, as it is now or as it last was good.  Thread-safe.
class TokenStore {
 public:
  // Errors name --tokens and the path.
  static absl::StatusOr<std::shared_ptr<TokenStore>> Open(std::string path);

  // Takes what the file has become; what is not good is told once, in the log and in Stats, if two
  // looks find the same.
  void Poll() ABSL_LOCKS_EXCLUDED(mu_);

  std::optional<TokenGrant> Find(absl::string_view token) const ABSL_LOCKS_EXCLUDED(mu_);

  // For metrics.
  struct Stats {
    uint64_t reloads = 0;
    uint64_t reload_errors = 0;
    bool failing = false;  // the file is not what is in use
  };
  Stats stats() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  TokenStore(std::string path, std::string text, Tokens tokens);

  const std::string path_;
  mutable Mutex mu_;
  std::string text_ ABSL_GUARDED_BY(mu_);  // its digest: of what is in use
  std::shared_ptr<const Tokens> tokens_ ABSL_GUARDED_BY(mu_);
  Stats stats_ ABSL_GUARDED_BY(mu_);
  absl::Status last_error_ ABSL_GUARDED_BY(mu_);  // of the last look
};

}  // namespace gradwire
