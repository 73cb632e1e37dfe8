// SPDX-License-Identifier: Apache-2.0
// A server that does what a test's script says: for what the real one would not do on demand.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/rpc/channel.h"
#include "gradwire/v1/service.grpc.pb.h"
#include "tests/worker/client/testing.h"

namespace gradwire {

// What one Train call does, and what it ends with.  The n-th call runs the n-th script; the last
// one serves all later calls.
using TrainStreamPair = grpc::ServerReaderWriter<v1::TrainResponse, v1::TrainRequest>;
using TrainScript = std::function<grpc::Status(TrainStreamPair*)>;

class FakeServer final : public v1::ParameterServer::Service {
 public:
  explicit FakeServer(std::shared_ptr<const Job> job) : job_(std::move(job)) {
    join.set_incarnation(1);
    join.set_lease_seconds(0.3);
    *join.mutable_job() = job_->config;
    join.set_schema_hash(job_->schema_hash);
    join.set_apply_revision(kApplyRevision);
  }
  ~FakeServer() override { Stop(); }

  // After the scripts are set.
  void Start() {
    grpc::ServerBuilder builder;
    SetServerChannelArguments(kMaxStreamWindow, &builder);
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void Stop() {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  grpc::Status Join(grpc::ServerContext*, const v1::JoinRequest* request,
                    v1::JoinResponse* response) override {
    MutexLock lock(&mu_);
    joins_.push_back(*request);
    sessions_.insert(request->session());
    *response = join;
    response->set_incarnation(join.incarnation() + sessions_.size() - 1);
    if (on_join) on_join(joins_.size(), *request, response);
    return joins_.size() <= join_errors.size() ? join_errors[joins_.size() - 1] : grpc::Status::OK;
  }
  grpc::Status Train(grpc::ServerContext*, TrainStreamPair* stream) override {
    TrainScript script;
    {
      MutexLock lock(&mu_);
      script = trains[std::min(train_calls_, trains.size() - 1)];
      ++train_calls_;
      changed_.NotifyAll();
    }
    return script(stream);
  }
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                        grpc::ServerWriter<v1::GetModelResponse>* writer) override {
    {
      MutexLock lock(&mu_);
      models_asked_.push_back(request->at_version());
    }
    if (!model_errors.empty()) {
      const grpc::Status error = model_errors.back();
      model_errors.pop_back();
      writer->Write(models.front());
      return error;
    }
    if (models.empty()) return {grpc::StatusCode::NOT_FOUND, "no snapshot yet"};
    for (const v1::GetModelResponse& chunk : models) writer->Write(chunk);
    return grpc::Status::OK;
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse*) override {
    MutexLock lock(&mu_);
    ++heartbeats_;
    last_heartbeat_ = *request;
    changed_.NotifyAll();
    return heartbeat;
  }
  grpc::Status Leave(grpc::ServerContext*, const v1::LeaveRequest* request,
                     v1::LeaveResponse* response) override {
    MutexLock lock(&mu_);
    leaves_.push_back(*request);
    if (!leave_error.ok()) return leave_error;
    response->set_parameters_hash(leave_hash != 0 ? leave_hash : request->parameters_hash());
    return grpc::Status::OK;
  }

  std::vector<v1::JoinRequest> joins() {
    MutexLock lock(&mu_);
    return joins_;
  }
  std::vector<v1::LeaveRequest> leaves() {
    MutexLock lock(&mu_);
    return leaves_;
  }
  std::vector<uint64_t> models_asked() {
    MutexLock lock(&mu_);
    return models_asked_;
  }
  // The saved_version of the newest heartbeat becomes this; false: not within kPatience.
  bool WaitForSavedVersion(std::optional<uint64_t> version) {
    MutexLock lock(&mu_);
    const absl::Duration end = SteadyClock().Now() + kPatience;
    while (SteadyClock().Now() < end) {
      if (heartbeats_ > 0 && last_heartbeat_.has_saved_version() == version.has_value() &&
          last_heartbeat_.saved_version() == version.value_or(0)) {
        return true;
      }
      changed_.WaitFor(&mu_, kPatience);
    }
    return false;
  }
  // False when fewer came within kPatience.
  bool WaitForHeartbeats(int count) {
    MutexLock lock(&mu_);
    const absl::Duration end = SteadyClock().Now() + kPatience;
    while (heartbeats_ < count && SteadyClock().Now() < end) changed_.WaitFor(&mu_, kPatience);
    return heartbeats_ >= count;
  }
  bool WaitForTrainCalls(size_t count) {
    MutexLock lock(&mu_);
    const absl::Duration end = SteadyClock().Now() + kPatience;
    while (train_calls_ < count && SteadyClock().Now() < end) changed_.WaitFor(&mu_, kPatience);
    return train_calls_ >= count;
  }

  // The script: set before Start.
  v1::JoinResponse join;  // its incarnation is the first session's; each other one's is one more
  // Calls count from 1.
  std::function<void(size_t call, const v1::JoinRequest&, v1::JoinResponse*)> on_join;
  std::vector<grpc::Status> join_errors;  // of the first calls
  std::vector<TrainScript> trains;
  std::vector<v1::GetModelResponse> models;
  std::vector<grpc::Status> model_errors;  // after the first chunk; each once, the last first
  grpc::Status heartbeat;
  grpc::Status leave_error;
  uint64_t leave_hash = 0;  // 0: the worker's own

 private:
  static constexpr absl::Duration kPatience = absl::Seconds(10);

  const std::shared_ptr<const Job> job_;
  int port_ = 0;
  Mutex mu_;
  CondVar changed_;
  size_t train_calls_ ABSL_GUARDED_BY(mu_) = 0;
  int heartbeats_ ABSL_GUARDED_BY(mu_) = 0;
  v1::HeartbeatRequest last_heartbeat_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::JoinRequest> joins_ ABSL_GUARDED_BY(mu_);
  std::set<uint64_t> sessions_ ABSL_GUARDED_BY(mu_);  // of all joins
  std::vector<uint64_t> models_asked_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::LeaveRequest> leaves_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace gradwire
