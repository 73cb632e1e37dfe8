// SPDX-License-Identifier: Apache-2.0
// Implementation of security.h.
#include "server/security.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/loopback.h"
#include "common/base/status_macros.h"
#include "common/rpc/server_credentials.h"

namespace gradwire {
namespace {

absl::Status CheckListen(const SecurityOptions& options, const std::string& listen) {
  if (IsLoopback(listen) || options.insecure || !options.tls.certificate.empty()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--listen=", listen, " can be reached from other machines: give --tls_cert, --tls_key and ",
      "--tls_ca (gradwire certs makes some to begin with), or --insecure in a network that is ",
      "closed to all others"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Security>> Security::Open(const SecurityOptions& options,
                                                         const std::string& listen) {
  GRADWIRE_RETURN_IF_ERROR(CheckListen(options, listen));
  std::shared_ptr<TlsWatcher> tls;
  if (options.tls.any()) {
    if (options.tls.certificate.empty() && options.tls.key.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--tls_ca=", options.tls.authorities,
                       " needs the server's own certificate: give --tls_cert and --tls_key"));
    }
    GRADWIRE_ASSIGN_OR_RETURN(tls, TlsWatcher::Open(options.tls, absl::Now()));
  }
  std::shared_ptr<TokenStore> tokens;
  if (!options.tokens.empty()) {
    GRADWIRE_ASSIGN_OR_RETURN(tokens, TokenStore::Open(options.tokens));
  }
  if (!IsLoopback(listen) && tokens == nullptr && options.tls.authorities.empty()) {
    LogWarning(absl::StrCat("whoever reaches ", listen, " may take part and administer: ",
                            "--tls_ca or --tokens would ask who it is"));
  }
  std::unique_ptr<Security> security(new Security(std::move(tls), std::move(tokens)));
  if (security->tls_ != nullptr || security->tokens_ != nullptr) {
    security->reloader_ = std::thread(
        [raw = security.get(), every = options.reload_every] { raw->ReloadLoop(every); });
  }
  return security;
}

Security::Security(std::shared_ptr<TlsWatcher> tls, std::shared_ptr<TokenStore> tokens)
    : tls_(std::move(tls)),
      tokens_(std::move(tokens)),
      access_(tls_ != nullptr && !tls_->paths().authorities.empty(), tokens_),
      credentials_(tls_ != nullptr ? NewServerCredentials(tls_)
                                   : grpc::InsecureServerCredentials()) {}

Security::~Security() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    stopped_.NotifyAll();
  }
  if (reloader_.joinable()) reloader_.join();
}

// False when the server ends.
bool Security::WaitForNext(absl::Duration every) {
  MutexLock lock(&mu_);
  if (!stopping_) stopped_.WaitFor(&mu_, every);
  return !stopping_;
}

void Security::ReloadLoop(absl::Duration every) {
  while (WaitForNext(every)) {
    if (tls_ != nullptr) tls_->Poll(absl::Now());
    if (tokens_ != nullptr) tokens_->Poll();
  }
}

Security::Stats Security::stats() const {
  Stats stats;
  stats.tls.not_after = absl::InfiniteFuture();
  if (tls_ != nullptr) stats.tls = tls_->stats();
  if (tokens_ != nullptr) stats.tokens = tokens_->stats();
  stats.calls_refused = access_.calls_refused();
  return stats;
}

}  // namespace gradwire
