// SPDX-License-Identifier: Apache-2.0
// gradwire export: the newest snapshot's parameters as a safetensors file.
#include <grpcpp/grpcpp.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/replica/layout.h"
#include "common/replica/snapshot.h"
#include "common/rpc/channel.h"
#include "common/rpc/status.h"
#include "gradwire/v1/service.grpc.pb.h"
#include "server/ctl/commands.h"

namespace gradwire {

absl::Status ExportModel(const ExportOptions& options) {
  constexpr size_t kMaxFile = kMaxDimension * sizeof(float) + (size_t{64} << 20);
  const auto stub = v1::ParameterServer::NewStub(NewClientChannel(options.server));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMilliseconds(options.timeout));
  const auto reader = stub->GetModel(&context, v1::GetModelRequest());
  std::string bytes;
  uint64_t version = 0;
  uint64_t total = 0;
  v1::GetModelResponse message;
  while (reader->Read(&message)) {
    if (message.has_point()) {
      version = message.point().version();
      total = message.total_bytes();
    }
    if (total > kMaxFile || bytes.size() + message.chunk().size() > total) {
      context.TryCancel();
      reader->Finish();
      return absl::DataLossError(absl::StrCat("server ", options.server, " sends more than the ",
                                              total,
                                              " bytes it has announced, or than any model has"));
    }
    bytes += message.chunk();
  }
  if (const grpc::Status status = reader->Finish(); !status.ok()) {
    return absl::Status(FromGrpc(status).code(),
                        absl::StrCat("server ", options.server, ": ", status.error_message()));
  }
  if (bytes.size() != total || total == 0) {
    return absl::DataLossError(
        absl::StrCat("server ", options.server, " sent ", bytes.size(), " of ", total, " bytes"));
  }
  GRADWIRE_RETURN_IF_ERROR(WriteFileAtomically(options.out, bytes));
  std::printf("%s: version %llu, %zu bytes\n", options.out.c_str(),
              static_cast<unsigned long long>(version), bytes.size());
  return absl::OkStatus();
}

}  // namespace gradwire
