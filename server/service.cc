// SPDX-License-Identifier: Apache-2.0
// Implementation of service.h.
#include "server/service.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "common/rpc/status.h"
#include "server/model_stream.h"
#include "server/shown.h"

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

// How long the caller of Set waits, less what a tick and the answer take.
absl::Duration PatienceOf(const grpc::CallbackServerContext& context) {
  constexpr absl::Duration kLongest = absl::Seconds(60);
  const absl::Duration left = absl::FromChrono(context.deadline()) - absl::Now();
  return std::min(kLongest, left - std::min(absl::Seconds(1), left / 4));
}

grpc::ServerUnaryReactor* Refuse(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
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
  const absl::Status admitted = access_->AdmitWorker(
      "/gradwire.v1.ParameterServer/Join", ShownBy(*access_, *context), request->worker_id());
  if (!admitted.ok()) return Refuse(context, admitted);
  const absl::Status in_time = joins_.Admit(context->peer());
  if (!in_time.ok()) return Refuse(context, in_time);
  return OnPool(pool_, context, [this, peer = context->peer(), request, response] {
    return Store(coordinator_->Join(*request, peer), response);
  });
}

TrainReactor* ParameterService::Train(grpc::CallbackServerContext* context) {
  return TrainStream::Start(coordinator_, counters_, pool_, access_, ShownBy(*access_, *context));
}

grpc::ServerWriteReactor<v1::GetModelResponse>* ParameterService::GetModel(
    grpc::CallbackServerContext* context, const v1::GetModelRequest* request) {
  const absl::Status admitted =
      access_->Admit("/gradwire.v1.ParameterServer/GetModel", ShownBy(*access_, *context)).status();
  if (!admitted.ok()) return ModelStream::Refuse(admitted);
  return ModelStream::Start(coordinator_, &models_, context, *request);
}

grpc::ServerUnaryReactor* ParameterService::Heartbeat(grpc::CallbackServerContext* context,
                                                      const v1::HeartbeatRequest* request,
                                                      v1::HeartbeatResponse* response) {
  const absl::Status admitted = access_->AdmitWorker(
      "/gradwire.v1.ParameterServer/Heartbeat", ShownBy(*access_, *context), request->worker_id());
  if (!admitted.ok()) return Refuse(context, admitted);
  return OnPool(pool_, context, [this, request, response] {
    return Store(coordinator_->Heartbeat(*request), response);
  });
}

grpc::ServerUnaryReactor* ParameterService::Leave(grpc::CallbackServerContext* context,
                                                  const v1::LeaveRequest* request,
                                                  v1::LeaveResponse* response) {
  const absl::Status admitted = access_->AdmitWorker(
      "/gradwire.v1.ParameterServer/Leave", ShownBy(*access_, *context), request->worker_id());
  if (!admitted.ok()) return Refuse(context, admitted);
  return OnPool(pool_, context, [this, request, response] {
    return Store(coordinator_->Leave(*request), response);
  });
}

grpc::ServerUnaryReactor* AdminService::GetStatus(grpc::CallbackServerContext* context,
                                                  const v1::GetStatusRequest* /*request*/,
                                                  v1::GetStatusResponse* response) {
  const absl::Status admitted =
      access_->Admit("/gradwire.v1.Admin/GetStatus", ShownBy(*access_, *context)).status();
  if (!admitted.ok()) return Refuse(context, admitted);
  *response = coordinator_->GetStatus();
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

// No thread waits: the coordinator answers when the record is committed.
grpc::ServerUnaryReactor* AdminService::Set(grpc::CallbackServerContext* context,
                                            const v1::SetRequest* request,
                                            v1::SetResponse* response) {
  const absl::Status admitted =
      access_->Admit("/gradwire.v1.Admin/Set", ShownBy(*access_, *context)).status();
  if (!admitted.ok()) return Refuse(context, admitted);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const bool scheduled = pool_->TrySchedule([this, context, request, response, reactor] {
    coordinator_->Set(request->settings(), PatienceOf(*context),
                      [response, reactor](absl::StatusOr<v1::SetResponse> answer) {
                        reactor->Finish(ToGrpc(Store(std::move(answer), response)));
                      });
  });
  if (!scheduled) {
    reactor->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "the server is busy; try later"});
  }
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::Snapshot(grpc::CallbackServerContext* context,
                                                 const v1::SnapshotRequest* /*request*/,
                                                 v1::SnapshotResponse* response) {
  const absl::Status admitted =
      access_->Admit("/gradwire.v1.Admin/Snapshot", ShownBy(*access_, *context)).status();
  if (!admitted.ok()) return Refuse(context, admitted);
  return OnPool(pool_, context,
                [this, response] { return Store(coordinator_->TakeSnapshot(), response); });
}

grpc::ServerUnaryReactor* AdminService::Drain(grpc::CallbackServerContext* context,
                                              const v1::DrainRequest* /*request*/,
                                              v1::DrainResponse* response) {
  const absl::Status admitted =
      access_->Admit("/gradwire.v1.Admin/Drain", ShownBy(*access_, *context)).status();
  if (!admitted.ok()) return Refuse(context, admitted);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  coordinator_->AskDrain([response, reactor](absl::StatusOr<v1::DrainResponse> answer) {
    reactor->Finish(ToGrpc(Store(std::move(answer), response)));
  });
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::Stop(grpc::CallbackServerContext* context,
                                             const v1::StopRequest* /*request*/,
                                             v1::StopResponse* response) {
  const absl::Status admitted =
      access_->Admit("/gradwire.v1.Admin/Stop", ShownBy(*access_, *context)).status();
  if (!admitted.ok()) return Refuse(context, admitted);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  coordinator_->StopJob(PatienceOf(*context),
                        [response, reactor](const absl::StatusOr<v1::SetResponse>& answer) {
                          if (answer.ok()) response->set_version(answer->job().steps());
                          reactor->Finish(ToGrpc(answer.status()));
                        });
  return reactor;
}

}  // namespace gradwire
