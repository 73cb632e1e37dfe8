// SPDX-License-Identifier: Apache-2.0
// gradwire health: an exit code for whoever restarts what does not work.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"
#include "common/base/address_list.h"
#include "common/base/machine.h"
#include "common/base/status_macros.h"
#include "common/rpc/status.h"
#include "gradwire/v1/admin.grpc.pb.h"
#include "server/ctl/call.h"
#include "server/ctl/commands.h"

namespace gradwire {
namespace {

using Channel = std::shared_ptr<grpc::Channel>;

constexpr char kCheck[] = "/grpc.health.v1.Health/Check";
// A HealthCheckResponse with status 1; Debian has no header with that message.
constexpr absl::string_view kServing("\x08\x01", 2);

absl::Status Unhealthy(absl::string_view server, absl::string_view why) {
  return absl::UnavailableError(absl::StrCat("server ", server, ": ", why));
}

absl::StatusOr<std::string> AskHealth(const Channel& channel, grpc::ClientContext* context) {
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  const grpc::ByteBuffer everything(nullptr, 0);  // the server as a whole
  grpc::ByteBuffer answer;
  grpc::Status status;
  const auto call = stub.PrepareUnaryCall(context, kCheck, everything, &queue);
  call->StartCall();
  call->Finish(&answer, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);  // comes at the context's deadline at the latest
  if (!status.ok()) return FromGrpc(status);
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!answer.Dump(&slices).ok()) return absl::UnavailableError("its answer cannot be read");
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

absl::Status CheckServer(const HealthOptions& options, const std::string& server,
                         const Channel& channel) {
  grpc::ClientContext context;
  PrepareCall(options.security.get(), options.timeout, &context);
  const absl::StatusOr<std::string> answer = AskHealth(channel, &context);
  if (!answer.ok()) {
    return Unhealthy(server, options.security->Explain(server, answer.status()).message());
  }
  if (*answer != kServing) return Unhealthy(server, "it is up and does not serve");
  return absl::OkStatus();
}

absl::Status CheckWorker(const HealthOptions& options, const std::string& server,
                         const Channel& channel, const std::string& worker_id) {
  const auto stub = v1::Admin::NewStub(channel);
  grpc::ClientContext context;
  PrepareCall(options.security.get(), options.timeout, &context);
  v1::GetStatusResponse status;
  const grpc::Status answer = stub->GetStatus(&context, v1::GetStatusRequest(), &status);
  if (!answer.ok()) return Unhealthy(server, answer.error_message());
  for (const v1::WorkerStatus& worker : status.workers()) {
    if (worker.id() != worker_id) continue;
    // Every other state is one of a worker that is there, or on its way back.
    if (worker.state() != "lost" && worker.state() != "left") return absl::OkStatus();
    return Unhealthy(
        server, absl::StrCat("worker \"", worker_id, "\" is ", worker.state(), " ", worker.note()));
  }
  return Unhealthy(server, absl::StrCat("there is no worker \"", worker_id, "\""));
}

}  // namespace

absl::Status CheckHealth(const HealthOptions& options) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> servers, ParseAddresses(options.server));
  std::string worker_id = options.worker_id;
  if (options.of_worker && worker_id.empty()) worker_id = HostName();
  for (const std::string& server : servers) {
    const Channel channel = options.security->NewChannel(server);
    GRADWIRE_RETURN_IF_ERROR(CheckServer(options, server, channel));
    if (!options.of_worker) continue;
    GRADWIRE_RETURN_IF_ERROR(CheckWorker(options, server, channel, worker_id));
  }
  return absl::OkStatus();
}

}  // namespace gradwire
