// SPDX-License-Identifier: Apache-2.0
// Implementation of shown.h.
#include "server/shown.h"

#include <grpc/grpc_security_constants.h>

namespace gradwire {
namespace {

void AddNames(const grpc::AuthContext& from, const char* property, std::vector<std::string>* to) {
  for (const grpc::string_ref& name : from.FindPropertyValues(property)) {
    if (!name.empty()) to->emplace_back(name.data(), name.size());
  }
}

}  // namespace

Credentials ShownBy(const Access& access, const grpc::CallbackServerContext& context) {
  Credentials shown;
  if (!access.asks()) return shown;
  if (const auto peer = context.auth_context(); peer != nullptr && peer->IsPeerAuthenticated()) {
    AddNames(*peer, GRPC_X509_CN_PROPERTY_NAME, &shown.names);
    AddNames(*peer, GRPC_PEER_DNS_PROPERTY_NAME, &shown.names);
    AddNames(*peer, GRPC_PEER_URI_PROPERTY_NAME, &shown.uris);
  }
  const auto range = context.client_metadata().equal_range("authorization");
  for (auto it = range.first; it != range.second; ++it) {
    shown.authorizations.emplace_back(it->second.data(), it->second.size());
  }
  return shown;
}

}  // namespace gradwire
