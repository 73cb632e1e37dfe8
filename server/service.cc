// SPDX-License-Identifier: Apache-2.0
// Implementation of service.h.
#include "server/service.h"

#include <functional>
#include <string>
#include <utility>

#include "common/rpc/status.h"
#include "server/model_stream.h"

namespace gradwire {
namespace {

// Runs `work` on the pool and finishes the call with its status.
grpc::ServerUnaryReactor* OnPool(ThreadPool* pool, grpc::CallbackServerContext* context,
                                 std::function<absl::Status()> work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const bool scheduled =
      pool->TrySchedule([reactor, work = std::move(work)] { reactor->Finish(ToGrpc(work())); });
  if (!scheduled) {
    reactor->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "the server is busy; try later"});
  }
  return reactor;
}

template <typename T>
absl::Status Store(absl::StatusOr<T> from, T* to) {
  if (!from.ok()) return from.status();
  *to = *std::move(from);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* ParameterService::Join(grpc::CallbackServerContext* context,
                                                 const v1::JoinRequest* request,
                                                 v1::JoinResponse* response) {
  return OnPool(pool_, context, [this, peer = context->peer(), request, response] {
    return Store(coordinator_->Join(*request, peer), response);
  });
}

TrainReactor* ParameterService::Train(grpc::CallbackServerContext* /*context*/) {
  return TrainStream::Start(coordinator_, counters_, pool_);
}

grpc::ServerWriteReactor<v1::GetModelResponse>* ParameterService::GetModel(
    grpc::CallbackServerContext* context, const v1::GetModelRequest* request) {
  return ModelStream::Start(coordinator_, &models_, context, *request);
}

grpc::ServerUnaryReactor* ParameterService::Heartbeat(grpc::CallbackServerContext* context,
                                                      const v1::HeartbeatRequest* request,
                                                      v1::HeartbeatResponse* response) {
  return OnPool(pool_, context, [this, request, response] {
    response->set_lease_seconds(coordinator_->job()->config.membership().lease_seconds());
    return coordinator_->Heartbeat(*request);
  });
}

grpc::ServerUnaryReactor* ParameterService::Leave(grpc::CallbackServerContext* context,
                                                  const v1::LeaveRequest* request,
                                                  v1::LeaveResponse* response) {
  return OnPool(pool_, context, [this, request, response] {
    return Store(coordinator_->Leave(*request), response);
  });
}

grpc::ServerUnaryReactor* AdminService::GetStatus(grpc::CallbackServerContext* context,
                                                  const v1::GetStatusRequest* /*request*/,
                                                  v1::GetStatusResponse* response) {
  *response = coordinator_->GetStatus();
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace gradwire
