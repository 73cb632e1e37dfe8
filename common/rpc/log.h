// SPDX-License-Identifier: Apache-2.0
// gRPC's own log lines, in our log's format.
#pragma once

namespace gradwire {

// Call once, before gRPC is used.
void LogForGrpc();

}  // namespace gradwire
