// SPDX-License-Identifier: Apache-2.0
// The TLS flags, the same ones in all programs.
#pragma once

#include "common/rpc/tls_files.h"

namespace gradwire {

// --tls_cert, --tls_key and --tls_ca.
TlsPaths TlsPathsFromFlags();
// --insecure.
bool InsecureFromFlags();

}  // namespace gradwire
