// SPDX-License-Identifier: Apache-2.0
// A real server over real gRPC: every method, two workers to the end, the end itself.
#include "server/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"
#include "tests/server/grpc_worker.h"

namespace gradwire {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

constexpr char kTwoWorkers[] =
    "name: 'tiny' model { tensors { tensor { name: 'w' shape: 6 } tensor { name: 'b' shape: 2 } } }"
    " optimizer: 'sgd:lr=0.5' steps: 3 snapshot_every: 2 membership { workers: 2 }";

// One block's chain: of the record that came last.
std::string ChainHashText(const std::vector<std::string>& parts) {
  return std::string(AsView(ChainHashOf(parts)));
}

// A unary call by name, with these bytes.
grpc::Status CallRaw(const std::string& address, const std::string& method,
                     const std::string& request, std::string* response) {
  grpc::GenericStub stub(Connect(address));
  grpc::ClientContext context;
  SetDeadline(&context);
  grpc::CompletionQueue queue;
  const grpc::Slice slice(request);
  auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer bytes;
  grpc::Status status;
  call->Finish(&bytes, &status, nullptr);
  void* tag;
  bool ok;
  queue.Next(&tag, &ok);
  grpc::Slice answer;
  if (status.ok() && bytes.DumpToSingleSlice(&answer).ok()) {
    response->assign(reinterpret_cast<const char*>(answer.begin()), answer.size());
  }
  return status;
}

TEST(ServerTest, TwoWorkersTrainToTheEndByTheClosedForm) {
  const auto server = StartServer(kTwoWorkers, "two_workers");
  GrpcWorker a(server->address(), "a");
  GrpcWorker b(server->address(), "b");
  ASSERT_TRUE(a.Enter() && b.Enter());
  const auto& job = *server->coordinator().job();
  std::vector<std::string> parts_a, parts_b;  // NOLINT: two of a kind
  ASSERT_TRUE(a.ReadRecord(0, &parts_a) && b.ReadRecord(0, &parts_b));
  // a and b push (1, 3), (2, 4), (3, 5): updates 2, 3 and 4.
  for (uint64_t step = 1; step <= 3; ++step) {
    EXPECT_EQ(parts_a, parts_b);
    const std::string base = ChainHashText(parts_a);
    const auto value = static_cast<float>(step);
    ASSERT_TRUE(b.Send(MakePayload(job, step, base, std::vector<float>(8, value + 2))[0]));
    ASSERT_TRUE(a.Send(MakePayload(job, step, base, std::vector<float>(8, value))[0]));
    parts_a.clear();
    parts_b.clear();
    ASSERT_TRUE(a.ReadRecord(step, &parts_a) && b.ReadRecord(step, &parts_b));
  }
  EXPECT_EQ(parts_a, parts_b);  // bit for bit
  EXPECT_TRUE(RecordHeader(*MakeRecord(3, parts_a)).finished());
  v1::LeaveResponse left_a;
  v1::LeaveResponse left_b;
  ASSERT_TRUE(a.Leave(&left_a).ok());
  ASSERT_TRUE(b.Leave(&left_b).ok());
  const std::vector<float> expected(8, -(2.0f + 3.0f + 4.0f));
  const uint64_t block_hash = Hash64(absl::MakeConstSpan(expected));
  const uint64_t hash = Hash64(absl::MakeConstSpan(&block_hash, 1));
  EXPECT_EQ(left_a.parameters_hash(), hash);
  EXPECT_EQ(left_b.parameters_hash(), hash);
  v1::TrainResponse stop;
  ASSERT_TRUE(a.Read(&stop));
  EXPECT_TRUE(stop.control().has_stop());
  EXPECT_FALSE(a.Read(&stop));
  EXPECT_TRUE(a.Finish().ok());
  const auto result = server->coordinator().WaitForEnd(absl::Seconds(30));
  EXPECT_EQ(result.phase, Phase::kFinished);
  EXPECT_EQ(result.parameters_hash, hash);
  EXPECT_EQ(server->counters().updates_sent.value(), 6u);
  EXPECT_EQ(server->counters().down_payload_bytes.value(), 6u * 32);
  EXPECT_EQ(server->counters().up_payload_bytes.value(), 6u * 32);
}

TEST(ServerTest, UnaryMethodsAnswer) {
  const auto server = StartServer(kTwoWorkers, "unary");
  GrpcWorker a(server->address(), "a");
  ASSERT_TRUE(a.Enter());
  EXPECT_EQ(a.lease().job().name(), "tiny");
  {
    grpc::ClientContext context;
    SetDeadline(&context);
    v1::HeartbeatRequest request;
    request.set_worker_id("a");
    request.set_incarnation(1);
    v1::HeartbeatResponse response;
    EXPECT_TRUE(a.stub().Heartbeat(&context, request, &response).ok());
    EXPECT_EQ(response.lease_seconds(), 10);
  }
  {
    grpc::ClientContext context;
    SetDeadline(&context);
    v1::HeartbeatRequest request;
    request.set_worker_id("nobody");
    v1::HeartbeatResponse response;
    EXPECT_EQ(a.stub().Heartbeat(&context, request, &response).error_code(),
              grpc::StatusCode::NOT_FOUND);
  }
  grpc::ClientContext context;
  SetDeadline(&context);
  v1::GetStatusResponse status;
  ASSERT_TRUE(v1::Admin::NewStub(Connect(server->address()))
                  ->GetStatus(&context, v1::GetStatusRequest(), &status)
                  .ok());
  EXPECT_EQ(status.phase(), "waiting for workers");
  EXPECT_EQ(status.dimension(), 8u);
  ASSERT_EQ(status.workers_size(), 1);
  EXPECT_THAT(status.workers(0).peer(), HasSubstr("127.0.0.1"));
}

TEST(ServerTest, HealthAndReflectionServicesAnswer) {
  const auto server = StartServer(kTwoWorkers, "health");
  std::string response;
  ASSERT_TRUE(CallRaw(server->address(), "/grpc.health.v1.Health/Check", "", &response).ok());
  EXPECT_EQ(response, std::string("\x08\x01", 2));  // status: SERVING
  // A stream, of which one message is sent: list_services (field 7) of anything.
  grpc::GenericStub stub(Connect(server->address()));
  grpc::ClientContext context;
  SetDeadline(&context);
  grpc::CompletionQueue queue;
  auto call = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  void* tag;
  bool ok;
  call->StartCall(nullptr);
  queue.Next(&tag, &ok);
  const grpc::Slice list(std::string("\x3a\x01*", 3));
  call->Write(grpc::ByteBuffer(&list, 1), nullptr);
  queue.Next(&tag, &ok);
  grpc::ByteBuffer bytes;
  call->Read(&bytes, nullptr);
  queue.Next(&tag, &ok);
  ASSERT_TRUE(ok);
  grpc::Slice answer;
  ASSERT_TRUE(bytes.DumpToSingleSlice(&answer).ok());
  const std::string text(reinterpret_cast<const char*>(answer.begin()), answer.size());
  EXPECT_THAT(text, HasSubstr("gradwire.v1.ParameterServer"));
  EXPECT_THAT(text, HasSubstr("gradwire.v1.Admin"));
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  queue.Next(&tag, &ok);
}

TEST(ServerTest, APortThatIsTakenIsRefused) {
  const auto server = StartServer(kTwoWorkers, "port_one");
  ServerOptions options;
  options.listen = server->address();
  options.history.state_dir = testing::TempDir() + "/port_two";
  const auto second = Server::Start(std::move(options), MakeTestJob(kTwoWorkers));
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(server->address()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--listen"));
}

TEST(ServerTest, ShutdownEndsOpenStreamsWithinItsGrace) {
  const auto server = StartServer(kTwoWorkers, "shutdown");
  GrpcWorker a(server->address(), "a");
  GrpcWorker silent(server->address(), "silent");
  ASSERT_TRUE(a.Enter());
  silent.OpenStream();  // says nothing, reads nothing
  ASSERT_TRUE(server->coordinator().Drain(absl::ZeroDuration()).ok());
  EXPECT_EQ(a.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  const absl::Time begin = absl::Now();
  server->Shutdown(absl::Seconds(1));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(4));
  EXPECT_FALSE(silent.Finish().ok());
}

// Calls that wait for a record hold no thread: the server has two.
TEST(ServerTest, SetIsAnsweredWhenTheRecordIsCommitted) {
  const auto server = StartServer(kTwoWorkers, "set");
  constexpr int kCalls = 8;
  struct Call {
    grpc::ClientContext context;
    v1::SetResponse response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::SetResponse>> reader;
  };
  const auto admin = v1::Admin::NewStub(Connect(server->address()));
  grpc::CompletionQueue queue;
  std::vector<Call> calls(kCalls);
  v1::SetRequest request;
  request.mutable_settings()->set_steps(1);
  request.mutable_settings()->set_lease_seconds(25);
  for (Call& call : calls) {
    SetDeadline(&call.context);
    call.reader = admin->AsyncSet(&call.context, request, &queue);
    call.reader->Finish(&call.response, &call.status, &call);
  }
  GrpcWorker a(server->address(), "a");
  GrpcWorker b(server->address(), "b");
  do {  // until the first of them has come
    ASSERT_TRUE(a.Join().ok());
  } while (a.lease().lease_seconds() != 25);
  ASSERT_TRUE(a.Enter() && b.Enter());  // and record 0 is made
  for (int i = 0; i < kCalls; ++i) {
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    const auto* call = static_cast<Call*>(tag);
    EXPECT_TRUE(call->status.ok()) << call->status.error_message();
    EXPECT_EQ(call->response.job().steps(), 1u);
    EXPECT_EQ(call->response.version(), 0u);
  }
  grpc::ClientContext context;
  SetDeadline(&context);
  request.mutable_settings()->set_steps(uint64_t{1} << 50);
  v1::SetResponse response;
  const grpc::Status refused = admin->Set(&context, request, &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_message(), HasSubstr("steps: 1125899906842624 is not in [1, "));
}

TEST(ServerTest, SetSaysInTimeThatItsRecordIsNotMadeYetAndShutdownWaitsForNobody) {
  const auto server = StartServer(kTwoWorkers, "set_late");
  const auto admin = v1::Admin::NewStub(Connect(server->address()));
  v1::SetRequest request;
  request.mutable_settings()->set_steps(9);
  v1::SetResponse response;
  grpc::ClientContext soon;
  soon.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
  const grpc::Status late = admin->Set(&soon, request, &response);
  EXPECT_EQ(late.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(late.error_message(),
              HasSubstr("comes with the record of version 0, which waits (waiting for workers)"));
  grpc::ClientContext never;  // without a deadline
  grpc::CompletionQueue queue;
  grpc::Status gone;
  const auto reader = admin->AsyncSet(&never, request, &queue);
  reader->Finish(&response, &gone, nullptr);
  GrpcWorker a(server->address(), "a");
  ASSERT_TRUE(a.Join().ok());  // so that the call has most likely come
  ASSERT_TRUE(server->coordinator().Drain(absl::ZeroDuration()).ok());
  server->Shutdown(absl::Seconds(5));
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(gone.error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace gradwire
