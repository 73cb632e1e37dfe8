// SPDX-License-Identifier: Apache-2.0
// Implementation of client_security.h.
#include "common/rpc/client_security.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rpc/channel.h"
#include "common/rpc/tls_handshake.h"
#include "common/rpc/token.h"

namespace gradwire {
namespace {

constexpr absl::Duration kRefreshEvery = absl::Seconds(1);
constexpr absl::Duration kHandshakePatience = absl::Seconds(2);

// A connection that was not made although somebody listens.
bool HandshakeMayBeTheReason(const absl::Status& error) {
  return absl::IsUnavailable(error) && absl::StrContains(error.message(), "failed to connect") &&
         !absl::StrContains(error.message(), "Connection refused");
}

}  // namespace

absl::StatusOr<std::shared_ptr<ClientSecurity>> ClientSecurity::Open(
    ClientSecurityOptions options) {
  auto security = std::make_shared<ClientSecurity>();
  if (options.tls.any()) {
    if (options.tls.authorities.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--tls_cert=", options.tls.certificate,
          " without --tls_ca: the server has to be known too, give its authority's certificate"));
    }
    GRADWIRE_ASSIGN_OR_RETURN(security->tls_,
                              TlsWatcher::Open(std::move(options.tls), absl::Now()));
  }
  if (!options.token_file.empty()) {
    MutexLock lock(&security->mu_);
    GRADWIRE_ASSIGN_OR_RETURN(security->token_, ReadTokenFile(options.token_file));
  }
  security->token_file_ = std::move(options.token_file);
  return security;
}

std::shared_ptr<grpc::Channel> ClientSecurity::NewChannel(const std::string& address) {
  if (tls_ == nullptr) return NewClientChannel(address, grpc::InsecureChannelCredentials());
  Refresh();
  const TlsPem& pem = tls_->current().material->pem;
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = pem.authorities;
  options.pem_cert_chain = pem.certificates;
  options.pem_private_key = pem.key;
  return NewClientChannel(address, grpc::SslCredentials(options));
}

uint64_t ClientSecurity::generation() {
  if (tls_ == nullptr) return 0;
  Refresh();
  return tls_->current().generation;
}

void ClientSecurity::Authorize(grpc::ClientContext* context) {
  if (token_file_.empty()) return;
  Refresh();
  MutexLock lock(&mu_);
  context->AddMetadata("authorization", absl::StrCat("Bearer ", token_));
}

void ClientSecurity::Refresh() {
  {
    MutexLock lock(&mu_);
    const absl::Duration now = SteadyClock().Now();
    if (now - refreshed_ < kRefreshEvery) return;
    refreshed_ = now;
  }
  if (tls_ != nullptr) tls_->Poll(absl::Now());
  if (token_file_.empty()) return;
  absl::StatusOr<std::string> token = ReadTokenFile(token_file_);
  MutexLock lock(&mu_);
  if (!token.ok() && !token_failing_) {
    LogWarning(absl::StrCat(token.status().message(), "; the token from before stays in use"));
  }
  token_failing_ = !token.ok();
  if (token.ok()) token_ = *std::move(token);
}

absl::Status ClientSecurity::Explain(const std::string& address, absl::Status error) {
  if (!HandshakeMayBeTheReason(error)) return error;
  std::shared_ptr<const TlsMaterial> material;
  if (tls_ != nullptr) material = tls_->current().material;
  const absl::Status found = ExplainHandshake(address, tls_ != nullptr ? tls_->paths() : TlsPaths(),
                                              material.get(), kHandshakePatience);
  return found.ok() ? error : found;
}

}  // namespace gradwire
