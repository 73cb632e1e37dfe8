// SPDX-License-Identifier: Apache-2.0
// The unary calls of a worker, each with a deadline, and GetModel.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "common/replica/job.h"
#include "common/replica/replica.h"
#include "common/rpc/client_security.h"
#include "gradwire/v1/service.grpc.pb.h"
#include "worker/client/stop_flag.h"

namespace gradwire {

inline constexpr absl::Duration kCallDeadline = absl::Seconds(10);

// One try a call: who calls decides about another.  Errors are the server's or gRPC's codes,
// see proto/README.md "Errors".  Thread-safe.
class ServerStub {
 public:
  // "host:port".  Connects on first use.  `security` null: without TLS and token.
  ServerStub(std::string address, std::shared_ptr<ClientSecurity> security);

  absl::StatusOr<v1::JoinResponse> Join(const v1::JoinRequest& request);
  absl::StatusOr<v1::LeaveResponse> Leave(const v1::LeaveRequest& request);
  // `context` is the caller's, with its deadline, so that another thread can cancel the call.
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request,
                                                  grpc::ClientContext* context);

  // The newest snapshot at or below `at_version` (0: of all), with optimizer state.  Waits for
  // `patience` and the time that a slow link takes.  NotFound: there is none.  DataLoss: it has
  // another size than it said, or than the job's model can have; InvalidArgument: it is another
  // job's; Cancelled: `stop`, which may be null, was requested.
  absl::StatusOr<Replica::Contents> GetModel(const Job& job, uint64_t at_version,
                                             absl::Duration patience, const StopFlag* stop);

  // Waits for `delay`, or until a connection that was down is up again, or until the stop is
  // requested.  Connects anew when certificates have changed.
  void WaitToRetry(absl::Duration delay, const StopFlag& stop) ABSL_LOCKS_EXCLUDED(mu_);

  // For calls of the caller's own; Authorize adds the token.
  std::shared_ptr<grpc::Channel> channel() const ABSL_LOCKS_EXCLUDED(mu_);
  void Authorize(grpc::ClientContext* context);

  // As ClientSecurity::Explain.
  absl::Status Explain(absl::Status error);

 private:
  std::unique_ptr<v1::ParameterServer::Stub> NewStub() const;
  void ConnectAnewIfChanged() ABSL_LOCKS_EXCLUDED(mu_);

  const std::string address_;
  const std::shared_ptr<ClientSecurity> security_;  // never null
  mutable Mutex mu_;
  uint64_t generation_ ABSL_GUARDED_BY(mu_);  // of security_, with which channel_ was made
  std::shared_ptr<grpc::Channel> channel_ ABSL_GUARDED_BY(mu_);
};

}  // namespace gradwire
