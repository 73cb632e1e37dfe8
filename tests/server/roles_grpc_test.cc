// SPDX-License-Identifier: Apache-2.0
// Over real gRPC: every method with every role's token, with none, and with an unknown one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "absl/strings/str_cat.h"
#include "tests/server/grpc_worker.h"

namespace gradwire {
namespace {

constexpr char kJob[] =
    "model { tensors { tensor { name: 'w' shape: 8 } } } steps: 1000 codec: 'identity'";

struct Method {
  const char* name;
  uint8_t roles;  // of enum Role
  // Calls it with a context that has the token.
  std::function<grpc::Status(const std::shared_ptr<grpc::Channel>&, grpc::ClientContext*)> call;
};

template <typename Request, typename Response>
auto Unary(grpc::Status (v1::ParameterServer::Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*)) {
  return [method](const std::shared_ptr<grpc::Channel>& channel, grpc::ClientContext* context) {
    v1::ParameterServer::Stub stub(channel);
    Response response;
    return (stub.*method)(context, Request(), &response);
  };
}

template <typename Request, typename Response>
auto UnaryAdmin(grpc::Status (v1::Admin::Stub::*method)(grpc::ClientContext*, const Request&,
                                                        Response*)) {
  return [method](const std::shared_ptr<grpc::Channel>& channel, grpc::ClientContext* context) {
    v1::Admin::Stub stub(channel);
    Response response;
    return (stub.*method)(context, Request(), &response);
  };
}

grpc::Status GetModel(const std::shared_ptr<grpc::Channel>& channel, grpc::ClientContext* context) {
  v1::ParameterServer::Stub stub(channel);
  const auto reader = stub.GetModel(context, v1::GetModelRequest());
  v1::GetModelResponse response;
  while (reader->Read(&response)) {
  }
  return reader->Finish();
}

// Ended by an unknown worker (NOT_FOUND) or another schema where the role may do it.
grpc::Status Hello(const std::shared_ptr<grpc::Channel>& channel, grpc::ClientContext* context,
                   bool follower) {
  v1::ParameterServer::Stub stub(channel);
  const auto stream = stub.Train(context);
  v1::TrainRequest hello;
  hello.mutable_hello()->set_worker_id("nobody");
  hello.mutable_hello()->set_follower(follower);
  hello.mutable_hello()->set_schema_hash(1);
  stream->Write(hello);
  v1::TrainResponse response;
  while (stream->Read(&response)) {
  }
  return stream->Finish();
}

constexpr uint8_t kWorker = 1, kAdmin = 4, kAll = 7;  // NOLINT: as in role.h

std::vector<Method> Methods() {
  using Server = v1::ParameterServer::Stub;
  return {
      {"Join", kWorker, Unary(&Server::Join)},
      {"Heartbeat", kWorker, Unary(&Server::Heartbeat)},
      {"Leave", kWorker, Unary(&Server::Leave)},
      {"GetModel", kAll, GetModel},
      {"push", kWorker, [](const auto& channel, auto* c) { return Hello(channel, c, false); }},
      {"follow", kAll, [](const auto& channel, auto* c) { return Hello(channel, c, true); }},
      {"GetStatus", kAll, UnaryAdmin(&v1::Admin::Stub::GetStatus)},
      {"Set", kAdmin, UnaryAdmin(&v1::Admin::Stub::Set)},
      {"Snapshot", kAdmin, UnaryAdmin(&v1::Admin::Stub::Snapshot)},
      {"Stop", kAdmin, UnaryAdmin(&v1::Admin::Stub::Stop)},
      {"Drain", kAdmin, UnaryAdmin(&v1::Admin::Stub::Drain)},
  };
}

std::string TokenOf(absl::string_view role) { return absl::StrCat(role, "-token-0000000000"); }

TEST(RolesTest, EveryMethodAsksForItsRole) {
  const std::string path = testing::TempDir() + "/gradwire_roles_tokens";
  {
    std::ofstream file(path);
    for (const char* role : {"worker", "follower", "admin"}) {
      file << role << " " << TokenOf(role) << "\n";
    }
  }
  ServerOptions options;
  options.security.tokens = path;
  const auto server = StartServer(kJob, "roles", options);
  const auto channel = Connect(server->address());
  uint64_t refused = 0;
  for (const Method& method : Methods()) {
    const std::pair<const char*, uint8_t> callers[] = {
        {"worker", 1}, {"follower", 2}, {"admin", 4}, {"unknown", 0}, {"", 0}};
    for (const auto& [role, bit] : callers) {
      SCOPED_TRACE(absl::StrCat(method.name, " by \"", role, "\""));
      grpc::ClientContext context;
      SetDeadline(&context);
      if (absl::string_view(method.name) ==
          "Drain") {  // nobody drains this server, so that the call has no end
        context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
      }
      if (*role != '\0') context.AddMetadata("authorization", "Bearer " + TokenOf(role));
      const grpc::StatusCode code = method.call(channel, &context).error_code();
      if (bit == 0) {
        EXPECT_EQ(code, grpc::StatusCode::UNAUTHENTICATED);
      } else if ((method.roles & bit) == 0) {
        EXPECT_EQ(code, grpc::StatusCode::PERMISSION_DENIED);
      } else {
        EXPECT_NE(code, grpc::StatusCode::UNAUTHENTICATED);
        EXPECT_NE(code, grpc::StatusCode::PERMISSION_DENIED);
      }
      if ((method.roles & bit) == 0) ++refused;
    }
  }
  EXPECT_EQ(server->security().calls_refused, refused);
}

}  // namespace
}  // namespace gradwire
