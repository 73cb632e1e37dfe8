// SPDX-License-Identifier: Apache-2.0
// gRPC asks at each handshake whether there is something new.  Its C++ face has that only through
// an experimental provider, which reads files by itself and takes a pair that does not match;
// its C face has a plain callback, and keeps what it has when the callback has nothing.
#include "common/rpc/server_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "common/base/mutex.h"

namespace gradwire {
namespace {

class WatchedServerCredentials final : public grpc::ServerCredentials {
 public:
  explicit WatchedServerCredentials(std::shared_ptr<const TlsWatcher> watcher)
      : watcher_(std::move(watcher)) {
    const bool mutual = !watcher_->paths().authorities.empty();
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                   : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            Fetch, this));
  }
  ~WatchedServerCredentials() override { grpc_server_credentials_release(credentials_); }

  // Who calls is asked in server/access.h, for every kind of connection alike.
  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>& /*processor*/) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  static grpc_ssl_certificate_config_reload_status Fetch(void* self,
                                                         grpc_ssl_server_certificate_config** out) {
    return static_cast<WatchedServerCredentials*>(self)->FetchNew(out);
  }

  grpc_ssl_certificate_config_reload_status FetchNew(grpc_ssl_server_certificate_config** out)
      ABSL_LOCKS_EXCLUDED(mu_) {
    const TlsWatcher::Current current = watcher_->current();
    MutexLock lock(&mu_);
    if (current.generation == given_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const TlsPem& pem = current.material->pem;
    const grpc_ssl_pem_key_cert_pair pair = {pem.key.c_str(), pem.certificates.c_str()};
    *out = grpc_ssl_server_certificate_config_create(
        pem.authorities.empty() ? nullptr : pem.authorities.c_str(), &pair, 1);
    given_ = current.generation;
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const std::shared_ptr<const TlsWatcher> watcher_;
  grpc_server_credentials* credentials_;
  Mutex mu_;
  uint64_t given_ ABSL_GUARDED_BY(mu_) = 0;  // the generation that gRPC has
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> NewServerCredentials(
    std::shared_ptr<const TlsWatcher> watcher) {
  return std::make_shared<WatchedServerCredentials>(std::move(watcher));
}

}  // namespace gradwire
