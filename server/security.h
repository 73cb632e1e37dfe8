// SPDX-License-Identifier: Apache-2.0
// Who may connect to a server and call what: TLS, tokens, and their reloading.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "common/rpc/tls_watcher.h"
#include "server/access.h"
#include "server/tokens.h"

namespace gradwire {

struct SecurityOptions {
  TlsPaths tls;
  std::string tokens;     // path; see tokens.h.  Empty: none are asked for
  bool insecure = false;  // an address that others reach may do without TLS
  absl::Duration reload_every = absl::Seconds(1);
};

// Thread-safe.  It runs a thread that looks for changed files.
class Security {
 public:
  // For a server that listens on `listen`.  InvalidArgument: that needs TLS, or the flags do not
  // fit together; else errors as of TlsWatcher::Open and TokenStore::Open.
  static absl::StatusOr<std::unique_ptr<Security>> Open(const SecurityOptions& options,
                                                        const std::string& listen);
  ~Security();

  std::shared_ptr<grpc::ServerCredentials> credentials() const { return credentials_; }
  Access* access() { return &access_; }

  // For metrics.
  struct Stats {
    TlsWatcher::Stats tls;
    TokenStore::Stats tokens;
    uint64_t calls_refused = 0;  // unauthenticated or without the role
  };
  Stats stats() const;

 private:
  Security(std::shared_ptr<TlsWatcher> tls, std::shared_ptr<TokenStore> tokens);
  bool WaitForNext(absl::Duration every) ABSL_LOCKS_EXCLUDED(mu_);
  void ReloadLoop(absl::Duration every) ABSL_LOCKS_EXCLUDED(mu_);

  const std::shared_ptr<TlsWatcher> tls_;     // null: plain
  const std::shared_ptr<TokenStore> tokens_;  // null: none
  Access access_;
  std::shared_ptr<grpc::ServerCredentials> credentials_;

  Mutex mu_;
  CondVar stopped_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread reloader_;
};

}  // namespace gradwire
