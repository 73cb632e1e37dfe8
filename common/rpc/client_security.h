// SPDX-License-Identifier: Apache-2.0
// What a client shows to the servers, and how it knows them: TLS files and a token, reloaded.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "common/rpc/tls_watcher.h"

namespace gradwire {

struct ClientSecurityOptions {
  TlsPaths tls;            // TLS when it has authorities
  std::string token_file;  // empty: no token
};

// Thread-safe.
class ClientSecurity {
 public:
  // Plain connections without a token.
  ClientSecurity() = default;
  // The files must be good: errors as of TlsWatcher::Open and ReadTokenFile.
  static absl::StatusOr<std::shared_ptr<ClientSecurity>> Open(ClientSecurityOptions options);

  // With the files as they are now.  Connects on first use; never null.
  std::shared_ptr<grpc::Channel> NewChannel(const std::string& address);
  // Grows when a channel made now would be another one: the files have changed.
  uint64_t generation() ABSL_LOCKS_EXCLUDED(mu_);

  // Adds the token.
  void Authorize(grpc::ClientContext* context) ABSL_LOCKS_EXCLUDED(mu_);

  // `error` of a call to `address`, with the reason where it is one that gRPC does not tell: then
  // Unauthenticated.  Takes up to a few seconds.
  absl::Status Explain(const std::string& address, absl::Status error);

 private:
  void Refresh() ABSL_LOCKS_EXCLUDED(mu_);

  std::shared_ptr<TlsWatcher> tls_;  // null: plain; constant after Open
  std::string token_file_;           // as above
  Mutex mu_;
  std::string token_ ABSL_GUARDED_BY(mu_);
  bool token_failing_ ABSL_GUARDED_BY(mu_) = false;
  absl::Duration refreshed_ ABSL_GUARDED_BY(mu_) = -absl::InfiniteDuration();
};

}  // namespace gradwire
