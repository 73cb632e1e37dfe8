// SPDX-License-Identifier: Apache-2.0
// gradwire export: the newest snapshot's parameters as a safetensors file; of several shards, those
// of the newest version that all have, in one file.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/address_list.h"
#include "common/base/status_macros.h"
#include "common/replica/layout.h"
#include "common/replica/snapshot.h"
#include "gradwire/v1/service.grpc.pb.h"
#include "server/ctl/call.h"
#include "server/ctl/commands.h"

namespace gradwire {
namespace {

constexpr int kTries = 5;  // beside shards that remove old snapshots

struct Model {
  uint64_t version = 0;
  std::string bytes;
};

absl::StatusOr<Model> Fetch(const std::string& server, uint64_t at_version,
                            const ExportOptions& options) {
  constexpr size_t kMaxFile = kMaxDimension * sizeof(float) + (size_t{64} << 20);
  const auto stub = v1::ParameterServer::NewStub(options.security->NewChannel(server));
  grpc::ClientContext context;
  PrepareCall(options.security.get(), options.timeout, &context);
  v1::GetModelRequest request;
  request.set_at_version(at_version);
  const auto reader = stub->GetModel(&context, request);
  Model model;
  uint64_t total = 0;
  v1::GetModelResponse message;
  while (reader->Read(&message)) {
    if (message.has_point()) {
      model.version = message.point().version();
      total = message.total_bytes();
    }
    if (total > kMaxFile || model.bytes.size() + message.chunk().size() > total) {
      context.TryCancel();
      reader->Finish();
      return absl::DataLossError(absl::StrCat("server ", server, " sends more than the ", total,
                                              " bytes it has announced, or than any model has"));
    }
    model.bytes += message.chunk();
  }
  if (const grpc::Status status = reader->Finish(); !status.ok()) {
    return CallError(options.security.get(), server, status);
  }
  if (model.bytes.size() != total || total == 0) {
    return absl::DataLossError(
        absl::StrCat("server ", server, " sent ", model.bytes.size(), " of ", total, " bytes"));
  }
  return model;
}

// Of all shards at one version.
absl::StatusOr<Model> FetchAll(const std::vector<std::string>& servers,
                               const ExportOptions& options) {
  std::vector<Model> models(servers.size());
  uint64_t wanted = 0;  // the newest
  for (int i = 0; i < kTries; ++i) {
    uint64_t lowest = UINT64_MAX;
    for (size_t k = 0; k < servers.size(); ++k) {
      if (models[k].bytes.empty() || models[k].version != wanted) {
        GRADWIRE_ASSIGN_OR_RETURN(models[k], Fetch(servers[k], wanted, options));
      }
      lowest = std::min(lowest, models[k].version);
    }
    wanted = lowest;
    const bool common = std::all_of(models.begin(), models.end(),
                                    [lowest](const Model& one) { return one.version == lowest; });
    if (!common) continue;
    std::vector<std::string> parts;
    for (Model& one : models) parts.push_back(std::move(one.bytes));
    GRADWIRE_ASSIGN_OR_RETURN(std::string joined, JoinSnapshots(parts));
    return Model{lowest, std::move(joined)};
  }
  return absl::UnavailableError(absl::StrCat("the ", servers.size(),
                                             " shards have no snapshot of one version: the last ",
                                             "try was version ", wanted, "; try again"));
}

absl::Status Write(const std::string& path, const Model& model) {
  GRADWIRE_RETURN_IF_ERROR(WriteFileAtomically(path, model.bytes));
  std::printf("%s: version %llu, %zu bytes\n", path.c_str(),
              static_cast<unsigned long long>(model.version), model.bytes.size());
  return absl::OkStatus();
}

}  // namespace

absl::Status ExportModel(const ExportOptions& options) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> servers, ParseAddresses(options.server));
  if (servers.size() == 1) {
    GRADWIRE_ASSIGN_OR_RETURN(const Model model, Fetch(servers[0], 0, options));
    return Write(options.out, model);
  }
  GRADWIRE_ASSIGN_OR_RETURN(const Model model, FetchAll(servers, options));
  return Write(options.out, model);
}

absl::Status JoinSnapshotFiles(const std::vector<std::string>& paths, const std::string& out) {
  constexpr size_t kMaxFile = size_t{16} << 30;
  std::vector<std::string> parts;
  for (const std::string& path : paths) {
    GRADWIRE_ASSIGN_OR_RETURN(parts.emplace_back(), PosixFileSystem()->Read(path, kMaxFile));
  }
  GRADWIRE_ASSIGN_OR_RETURN(const std::string joined, JoinSnapshots(parts));
  GRADWIRE_RETURN_IF_ERROR(WriteFileAtomically(out, joined));
  std::printf("%s: %zu bytes\n", out.c_str(), joined.size());
  return absl::OkStatus();
}

}  // namespace gradwire
