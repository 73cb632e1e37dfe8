// SPDX-License-Identifier: Apache-2.0
// What the clients' flags say of TLS and tokens.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/rpc/client_security.h"

namespace gradwire {

// For the servers at `addresses` (see ParseAddresses).  InvalidArgument: a token would travel
// without TLS, or the flags do not fit together; else errors as of ClientSecurity::Open.
absl::StatusOr<std::shared_ptr<ClientSecurity>> ClientSecurityFromFlags(
    absl::string_view addresses);

}  // namespace gradwire
