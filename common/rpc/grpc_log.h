// SPDX-License-Identifier: Apache-2.0
// gRPC's own log lines, in our log: each connection that fails a handshake makes one.
#pragma once

namespace gradwire {

// From now on, for the process; before gRPC is used.  At most 20 lines in 10 seconds, the rest is
// counted: nobody fills a disk by knocking at the port.
void ForwardGrpcLog();

}  // namespace gradwire
