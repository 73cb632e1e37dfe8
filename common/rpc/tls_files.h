// SPDX-License-Identifier: Apache-2.0
// Certificate, key and authorities from PEM files, checked before gRPC sees them.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace gradwire {

// As the flags name them; empty: not given.
struct TlsPaths {
  std::string certificate = {};  // --tls_cert: the own one first, then those up to the authority
  std::string key = {};          // --tls_key: of the own certificate, without a password
  std::string authorities = {};  // --tls_ca: who may have signed the peer's certificate

  bool any() const { return !certificate.empty() || !key.empty() || !authorities.empty(); }
};

// The files' contents, unchecked.
struct TlsPem {
  std::string certificates;
  std::string key;
  std::string authorities;

  bool operator==(const TlsPem& other) const {
    return certificates == other.certificates && key == other.key &&
           authorities == other.authorities;
  }
};

// What has passed the checks.
struct TlsMaterial {
  TlsPem pem;
  std::string name;                               // the own certificate's, for messages
  absl::Time not_after = absl::InfiniteFuture();  // the first end of the own chain's
};

// Errors name flag, path and the system's reason.
absl::StatusOr<TlsPem> ReadTlsFiles(const TlsPaths& paths);

// FailedPrecondition, with flag, path, what is wrong and the remedy: not PEM or cut off, a key with
// a password, key and certificate that do not match, expired or not yet valid at `now`.
absl::StatusOr<TlsMaterial> CheckTls(const TlsPaths& paths, TlsPem pem, absl::Time now);

// For messages, to the second.
std::string UtcText(absl::Time time);

// Certificate and key must be given together.
absl::Status CheckPaths(const TlsPaths& paths);

}  // namespace gradwire
