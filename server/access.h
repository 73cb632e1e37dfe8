// SPDX-License-Identifier: Apache-2.0
// Who calls, by certificate and token, and whether that one may.
//
// With --tokens, the role is the token's.  Without, the certificate's: one with the alternative
// name URI gradwire://ROLE/NAME has that role; any other is a worker's.  A worker's id must be the
// one that its token names, if it names one, and one of the names in its certificate, if it shows
// one: the common name, a DNS name, or NAME above.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/role.h"
#include "server/tokens.h"

namespace gradwire {

// What a call shows of its caller.
struct Credentials {
  std::vector<std::string> names = {};           // of a certificate that was checked: common, DNS
  std::vector<std::string> authorizations = {};  // the headers of that name
  std::vector<std::string> uris = {};            // of the certificate
};

// One who was let in.
class Caller {
 public:
  // Of a server that asks for nothing: may do everything, under any name.
  Caller() = default;
  Caller(Role role, std::string token_id, std::vector<std::string> certificate_names)
      : role_(role),
        token_id_(std::move(token_id)),
        certificate_names_(std::move(certificate_names)) {}

  // PermissionDenied: the method is for other roles.
  absl::Status MayCall(absl::string_view method) const;
  // PermissionDenied: the id is another worker's.
  absl::Status MayBe(absl::string_view worker_id) const;

 private:
  std::optional<Role> role_;
  std::string token_id_;                        // empty: any
  std::vector<std::string> certificate_names_;  // empty: any
};

// Thread-safe.
class Access {
 public:
  // `certificates`: clients must have shown one.  `tokens` null: none are asked for.
  Access(bool certificates, std::shared_ptr<const TokenStore> tokens)
      : certificates_(certificates), tokens_(std::move(tokens)) {}

  // Unauthenticated: no or an unknown token, or no certificate; else as Caller::MayCall.
  absl::StatusOr<Caller> Admit(absl::string_view method, const Credentials& shown);
  // The same for a call by a worker of this id.
  absl::Status AdmitWorker(absl::string_view method, const Credentials& shown,
                           absl::string_view worker_id);
  // Grows when somebody who was admitted may be so no longer.
  uint64_t generation() const { return tokens_ == nullptr ? 0 : tokens_->stats().reloads; }
  // False: everybody may do everything, and nothing need be shown.
  bool asks() const { return certificates_ || tokens_ != nullptr; }
  uint64_t calls_refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  absl::Status Counted(absl::Status status);
  absl::StatusOr<Caller> Identify(const Credentials& shown) const;

  const bool certificates_;
  const std::shared_ptr<const TokenStore> tokens_;
  std::atomic<uint64_t> refused_{0};
};

}  // namespace gradwire
