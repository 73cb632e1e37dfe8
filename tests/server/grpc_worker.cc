// SPDX-License-Identifier: Apache-2.0
// Implementation of grpc_worker.h.
#include "tests/server/grpc_worker.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <utility>

#include "common/rpc/channel.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {

std::unique_ptr<Server> StartServer(const std::string& job_text, const std::string& name,
                                    ServerOptions options) {
  const std::string folder = testing::TempDir() + "/gradwire_" + name;
  std::filesystem::remove_all(folder);
  options.listen = "127.0.0.1:0";
  options.history.state_dir = folder;
  auto server = Server::Start(std::move(options), MakeTestJob(job_text));
  EXPECT_TRUE(server.ok()) << server.status();
  return *std::move(server);
}

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments = ClientChannelArguments(address);
  arguments.SetMaxSendMessageSize(-1);  // to try what the server refuses
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

void SetDeadline(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
}

GrpcWorker::GrpcWorker(const std::string& address, std::string id)
    : id_(std::move(id)),
      channel_(Connect(address)),
      stub_(v1::ParameterServer::NewStub(channel_)) {}

grpc::Status GrpcWorker::Join(uint64_t session) {
  grpc::ClientContext context;
  SetDeadline(&context);
  v1::JoinRequest request;
  request.set_worker_id(id_);
  request.set_session(session);
  request.set_apply_revision(kApplyRevision);
  return stub_->Join(&context, request, &lease_);
}

void GrpcWorker::OpenStream() {
  context_ = std::make_unique<grpc::ClientContext>();
  SetDeadline(context_.get());
  stream_ = stub_->Train(context_.get());
}

bool GrpcWorker::SendHello() {
  v1::TrainRequest request;
  request.mutable_hello()->set_worker_id(id_);
  request.mutable_hello()->set_incarnation(lease_.incarnation());
  return stream_->Write(request);
}

bool GrpcWorker::SendCaughtUp() {
  v1::TrainRequest request;
  *request.mutable_caught_up()->mutable_at() = lease_.newest();
  return stream_->Write(request);
}

bool GrpcWorker::Enter() {
  const grpc::Status joined = Join();
  EXPECT_TRUE(joined.ok()) << joined.error_message();
  OpenStream();
  return joined.ok() && SendHello() && SendCaughtUp();
}

bool GrpcWorker::Send(const v1::Gradient& message) {
  v1::TrainRequest request;
  *request.mutable_gradient() = message;
  return stream_->Write(request);
}

bool GrpcWorker::Read(v1::TrainResponse* response) { return stream_->Read(response); }

bool GrpcWorker::ReadRecord(uint64_t version, std::vector<std::string>* parts) {
  v1::TrainResponse response;
  while (Read(&response)) {
    if (!response.has_update_part()) continue;
    parts->push_back(response.update_part());
    v1::UpdatePart part;
    if (!part.ParseFromString(response.update_part())) return false;
    if (part.has_header() && part.version() == version) return true;
  }
  return false;
}

grpc::Status GrpcWorker::Finish() { return stream_->Finish(); }

grpc::Status GrpcWorker::Leave(v1::LeaveResponse* response) {
  grpc::ClientContext context;
  SetDeadline(&context);
  v1::LeaveRequest request;
  request.set_worker_id(id_);
  request.set_incarnation(lease_.incarnation());
  request.set_reason("done");
  return stub_->Leave(&context, request, response);
}

}  // namespace gradwire
