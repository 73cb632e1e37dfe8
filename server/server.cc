// SPDX-License-Identifier: Apache-2.0
// Implementation of server.h.
#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/channel.h"

namespace gradwire {
namespace {

constexpr auto kTick = std::chrono::milliseconds(100);

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerOptions options,
                                                      std::shared_ptr<const Job> job) {
  std::unique_ptr<Server> server(new Server(std::move(options)));
  GRADWIRE_ASSIGN_OR_RETURN(server->security_,
                            Security::Open(server->options_.security, server->options_.listen));
  GRADWIRE_ASSIGN_OR_RETURN(
      server->coordinator_,
      Coordinator::Create({.history = server->options_.history}, std::move(job), &server->clock_,
                          &server->counters_));
  server->parameter_service_ = std::make_unique<ParameterService>(
      server->coordinator_.get(), &server->counters_, &server->pool_, server->security_->access(),
      server->options_.models);
  server->admin_service_ = std::make_unique<AdminService>(
      server->coordinator_.get(), &server->pool_, server->security_->access());
  GRADWIRE_RETURN_IF_ERROR(server->Listen());
  server->ticker_ = std::thread([raw = server.get()] { raw->TickLoop(); });
  return server;
}

absl::Status Server::Listen() {
  // Both are process-wide, and must come before the builder.
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetServerChannelArguments(options_.stream_window, &builder);
  int port = 0;
  builder.AddListeningPort(options_.listen, security_->credentials(), &port);
  builder.RegisterService(parameter_service_.get());
  builder.RegisterService(admin_service_.get());
  grpc_server_ = builder.BuildAndStart();
  if (grpc_server_ == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on \"", options_.listen,
                     "\": the port is taken or the address is not this machine's; "
                     "choose another with --listen=HOST:PORT"));
  }
  address_ = absl::StrCat(options_.listen.substr(0, options_.listen.rfind(':')), ":", port);
  return absl::OkStatus();
}

void Server::TickLoop() {
  while (!stopping_.load(std::memory_order_relaxed)) {
    std::this_thread::sleep_for(kTick);
    coordinator_->Tick();
    NoteSecurity();
  }
}

void Server::NoteSecurity() {
  const Security::Stats stats = security_->stats();
  const bool ends = stats.tls.not_after != absl::InfiniteFuture();
  counters_.tls_not_after_seconds.Set(
      ends ? absl::ToDoubleSeconds(stats.tls.not_after - absl::UnixEpoch()) : 0);
  counters_.tls_reload_errors.Set(static_cast<double>(stats.tls.reload_errors));
  counters_.calls_refused.Set(static_cast<double>(stats.calls_refused));
}

void Server::Shutdown(absl::Duration grace) {
  if (grpc_server_ == nullptr) return;
  if (grpc_server_->GetHealthCheckService() != nullptr) {
    grpc_server_->GetHealthCheckService()->SetServingStatus(false);
  }
  stopping_ = true;
  if (ticker_.joinable()) ticker_.join();
  grpc_server_->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(grace));
  grpc_server_->Wait();
  grpc_server_.reset();
}

Server::~Server() {
  stopping_ = true;
  if (ticker_.joinable()) ticker_.join();
  if (grpc_server_ != nullptr && coordinator_ != nullptr) {
    coordinator_->Drain(absl::ZeroDuration()).IgnoreError();
  }
  Shutdown(absl::Seconds(1));
}

}  // namespace gradwire
