// SPDX-License-Identifier: Apache-2.0
// Why a TLS connection is not made: gRPC says only that it failed.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/rpc/tls_files.h"

namespace gradwire {

// Connects to `address` ("host:port") once more, as a client with `material` would (null: one
// without TLS), and says what is wrong: expired, self-signed, another name, another authority, no
// or no accepted certificate of our own, TLS on one side only.  Every wait is at most `patience`.
// Ok: nothing was found that another try or the network could not mend.
absl::Status ExplainHandshake(const std::string& address, const TlsPaths& paths,
                              const TlsMaterial* material, absl::Duration patience);

}  // namespace gradwire
