// SPDX-License-Identifier: Apache-2.0
// What all calls of gradwire to a server have in common: deadline, token, errors with the address.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/rpc/client_security.h"

namespace gradwire {

void PrepareCall(ClientSecurity* security, absl::Duration timeout, grpc::ClientContext* context);

// `answer`, which is not OK, with the server's address, and with the reason where gRPC hides it.
absl::Status CallError(ClientSecurity* security, const std::string& server,
                       const grpc::Status& answer);

}  // namespace gradwire
