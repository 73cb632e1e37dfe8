// SPDX-License-Identifier: Apache-2.0
// The gRPC services: each method takes its message to the coordinator and back.
#pragma once

#include <grpcpp/grpcpp.h>

#include "common/base/clock.h"
#include "common/base/thread_pool.h"
#include "gradwire/v1/admin.grpc.pb.h"
#include "gradwire/v1/service.grpc.pb.h"
#include "server/access.h"
#include "server/coordinator.h"
#include "server/counters.h"
#include "server/join_limiter.h"
#include "server/model_sender.h"
#include "server/train_stream.h"

namespace gradwire {

// Train raw, the others with messages.
using ParameterServiceBase =
    v1::ParameterServer::WithCallbackMethod_Join<v1::ParameterServer::WithRawCallbackMethod_Train<
        v1::ParameterServer::WithCallbackMethod_GetModel<
            v1::ParameterServer::WithCallbackMethod_Heartbeat<
                v1::ParameterServer::WithCallbackMethod_Leave<v1::ParameterServer::Service>>>>>;

// Work is done on the pool, not on gRPC's few callback threads; a full pool is
// answered with RESOURCE_EXHAUSTED.  All four must outlive the server's shutdown.
class ParameterService final : public ParameterServiceBase {
 public:
  ParameterService(Coordinator* coordinator, ServerCounters* counters, ThreadPool* pool,
                   Access* access, const ModelSenderOptions& models)
      : coordinator_(coordinator),
        counters_(counters),
        pool_(pool),
        access_(access),
        models_(models) {}

  grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context,
                                 const v1::JoinRequest* request,
                                 v1::JoinResponse* response) override;
  TrainReactor* Train(grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<v1::GetModelResponse>* GetModel(
      grpc::CallbackServerContext* context, const v1::GetModelRequest* request) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context,
                                      const v1::HeartbeatRequest* request,
                                      v1::HeartbeatResponse* response) override;
  grpc::ServerUnaryReactor* Leave(grpc::CallbackServerContext* context,
                                  const v1::LeaveRequest* request,
                                  v1::LeaveResponse* response) override;

 private:
  Coordinator* const coordinator_;
  ServerCounters* const counters_;
  ThreadPool* const pool_;
  Access* const access_;
  const SteadyClock clock_;
  JoinLimiter joins_{&clock_};
  ModelSender models_;
};

class AdminService final : public v1::Admin::CallbackService {
 public:
  // All three must outlive the server's shutdown.
  AdminService(Coordinator* coordinator, ThreadPool* pool, Access* access)
      : coordinator_(coordinator), pool_(pool), access_(access) {}

  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const v1::GetStatusRequest* request,
                                      v1::GetStatusResponse* response) override;
  grpc::ServerUnaryReactor* Set(grpc::CallbackServerContext* context, const v1::SetRequest* request,
                                v1::SetResponse* response) override;
  grpc::ServerUnaryReactor* Snapshot(grpc::CallbackServerContext* context,
                                     const v1::SnapshotRequest* request,
                                     v1::SnapshotResponse* response) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context,
                                  const v1::DrainRequest* request,
                                  v1::DrainResponse* response) override;
  grpc::ServerUnaryReactor* Stop(grpc::CallbackServerContext* context,
                                 const v1::StopRequest* request,
                                 v1::StopResponse* response) override;

 private:
  Coordinator* const coordinator_;
  ThreadPool* const pool_;
  Access* const access_;
};

}  // namespace gradwire
