// SPDX-License-Identifier: Apache-2.0
// gradwire snapshot, drain, stop: what an operator asks of a running server.
#include <grpcpp/grpcpp.h>

#include <cstdio>

#include "common/base/address_list.h"
#include "common/base/status_macros.h"
#include "gradwire/v1/admin.grpc.pb.h"
#include "server/ctl/call.h"
#include "server/ctl/commands.h"

namespace gradwire {
namespace {

unsigned long long Number(uint64_t number) { return number; }

// Calls `method` of one server and gives its answer; an error names the server.
template <typename Request, typename Response>
absl::StatusOr<Response> Ask(const OperateOptions& options, const std::string& server,
                             grpc::Status (v1::Admin::Stub::*method)(grpc::ClientContext*,
                                                                     const Request&, Response*)) {
  const auto stub = v1::Admin::NewStub(options.security->NewChannel(server));
  grpc::ClientContext context;
  PrepareCall(options.security.get(), options.timeout, &context);
  Response response;
  const grpc::Status answer = (stub.get()->*method)(&context, Request(), &response);
  if (answer.ok()) return response;
  return CallError(options.security.get(), server, answer);
}

}  // namespace

absl::Status TakeSnapshots(const OperateOptions& options) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> servers, ParseAddresses(options.server));
  for (const std::string& server : servers) {
    GRADWIRE_ASSIGN_OR_RETURN(const v1::SnapshotResponse made,
                              Ask(options, server, &v1::Admin::Stub::Snapshot));
    std::printf("snapshot of version %llu: %s\n", Number(made.version()), made.path().c_str());
  }
  return absl::OkStatus();
}

// The others' steps come from the first one, so that goes first; what one does not answer keeps
// none of the others.
absl::Status DrainServers(const OperateOptions& options) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> servers, ParseAddresses(options.server));
  absl::Status first;
  for (const std::string& server : servers) {
    const auto drained = Ask(options, server, &v1::Admin::Stub::Drain);
    if (drained.ok()) {
      std::printf("drained at version %llu: %s\n", Number(drained->version()), server.c_str());
    } else if (first.ok()) {
      first = drained.status();
    }
  }
  return first;
}

absl::Status StopJob(const OperateOptions& options) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> servers, ParseAddresses(options.server));
  GRADWIRE_ASSIGN_OR_RETURN(const v1::StopResponse stopped,
                            Ask(options, servers.front(), &v1::Admin::Stub::Stop));
  std::printf("the job ends with version %llu\n", Number(stopped.version()));
  return absl::OkStatus();
}

}  // namespace gradwire
