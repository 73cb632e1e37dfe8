// SPDX-License-Identifier: Apache-2.0
// TLS on the server's side, with certificates that change while it serves.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "common/rpc/tls_watcher.h"

namespace gradwire {

// Every new connection gets what `watcher` has then.  With --tls_ca a client must show a
// certificate of one of those authorities.
std::shared_ptr<grpc::ServerCredentials> NewServerCredentials(
    std::shared_ptr<const TlsWatcher> watcher);

}  // namespace gradwire
