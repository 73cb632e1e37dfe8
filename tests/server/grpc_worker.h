// SPDX-License-Identifier: Apache-2.0
// A real server on a free port, and a worker on the bare generated stubs: what the wire says,
// without our own client library in between.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "gradwire/v1/admin.grpc.pb.h"
#include "gradwire/v1/service.grpc.pb.h"
#include "server/server.h"

namespace gradwire {

// On a free port, with a state directory of this name, emptied first; other options as they are.
std::unique_ptr<Server> StartServer(const std::string& job_text, const std::string& name,
                                    ServerOptions options = {});
std::shared_ptr<grpc::Channel> Connect(const std::string& address);

using TrainCall = grpc::ClientReaderWriter<v1::TrainRequest, v1::TrainResponse>;

// Every call of it ends within 30 s.
class GrpcWorker {
 public:
  GrpcWorker(const std::string& address, std::string id);

  grpc::Status Join(uint64_t session = 1);
  void OpenStream();
  bool SendHello();  // from record 0
  bool SendCaughtUp();
  bool Enter();  // all of the above
  bool Send(const v1::Gradient& message);

  // The next message; false when the stream has ended.
  bool Read(v1::TrainResponse* response);
  // Reads up to the header of `version`; appends each update_part, as it came, to `parts`.
  bool ReadRecord(uint64_t version, std::vector<std::string>* parts);
  grpc::Status Finish();
  grpc::Status Leave(v1::LeaveResponse* response);

  const v1::JoinResponse& lease() const { return lease_; }
  v1::ParameterServer::Stub& stub() { return *stub_; }
  TrainCall& stream() { return *stream_; }
  grpc::ClientContext& context() { return *context_; }

 private:
  const std::string id_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::ParameterServer::Stub> stub_;
  v1::JoinResponse lease_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<TrainCall> stream_;
};

void SetDeadline(grpc::ClientContext* context);

}  // namespace gradwire
