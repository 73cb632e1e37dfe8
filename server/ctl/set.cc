// SPDX-License-Identifier: Apache-2.0
// gradwire set: changes a job while it runs.
#include <grpcpp/grpcpp.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/base/address_list.h"
#include "common/base/status_macros.h"
#include "common/replica/settings.h"
#include "gradwire/v1/admin.grpc.pb.h"
#include "server/ctl/call.h"
#include "server/ctl/commands.h"

namespace gradwire {

absl::Status SetJob(const SetOptions& options) {
  if (options.assignments.empty()) {
    return absl::InvalidArgumentError("set needs NAME=VALUE, as in set steps=5000");
  }
  v1::SetRequest request;
  GRADWIRE_ASSIGN_OR_RETURN(*request.mutable_settings(), ParseSettings(options.assignments));
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> servers, ParseAddresses(options.server));
  const std::string& server = servers.front();
  const auto stub = v1::Admin::NewStub(options.security->NewChannel(server));
  grpc::ClientContext context;
  PrepareCall(options.security.get(), options.timeout, &context);
  v1::SetResponse response;
  const grpc::Status answer = stub->Set(&context, request, &response);
  if (!answer.ok()) return CallError(options.security.get(), server, answer);
  const std::string what = SettingsText(request.settings());
  const auto version = static_cast<unsigned long long>(response.version());
  if (response.unchanged()) {
    std::printf("unchanged at version %llu: %s\n", version, what.c_str());
  } else {
    std::printf("set from version %llu on: %s\n", version, what.c_str());
  }
  return absl::OkStatus();
}

}  // namespace gradwire
