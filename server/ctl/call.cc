// SPDX-License-Identifier: Apache-2.0
// Implementation of call.h.
#include "server/ctl/call.h"

#include "absl/strings/str_cat.h"
#include "common/rpc/status.h"

namespace gradwire {

void PrepareCall(ClientSecurity* security, absl::Duration timeout, grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
  security->Authorize(context);
}

absl::Status CallError(ClientSecurity* security, const std::string& server,
                       const grpc::Status& answer) {
  const absl::Status error = security->Explain(server, FromGrpc(answer));
  return absl::Status(error.code(), absl::StrCat("server ", server, ": ", error.message()));
}

}  // namespace gradwire
