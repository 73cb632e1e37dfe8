// SPDX-License-Identifier: Apache-2.0
// Clients that talk nonsense, flood or never read: refused, while another worker goes on.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <functional>

#include "common/rpc/limits.h"
#include "tests/server/fake_cluster.h"
#include "tests/server/grpc_worker.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

constexpr char kOneWorker[] =
    "model { tensors { tensor { name: 'w' shape: 8 } } } steps: 1000 codec: 'identity' "
    "membership { lease_seconds: 60 }";

// Pushes steps and reads their updates; true when all came.
class GoodWorker {
 public:
  explicit GoodWorker(Server* server) : server_(server), worker_(server->address(), "good") {
    EXPECT_TRUE(worker_.Enter());
    EXPECT_TRUE(worker_.ReadRecord(0, &parts_));
  }
  bool Steps(uint64_t count) {
    const auto& job = *server_->coordinator().job();
    for (const uint64_t last = step_ + count; step_ < last; ++step_) {
      const std::string base(AsView(ChainHashOf(parts_)));
      const std::vector<float> ones(job.layout.dimension(), 1.0f);
      for (const auto& message : MakePayload(job, step_, base, ones)) {
        if (!worker_.Send(message)) return false;
      }
      parts_.clear();
      if (!worker_.ReadRecord(step_, &parts_)) return false;
    }
    return true;
  }

 private:
  Server* const server_;
  GrpcWorker worker_;
  uint64_t step_ = 1;
  std::vector<std::string> parts_;
};

TEST(BadClientTest, WrongMessagesEndTheStreamAndNobodyElses) {
  const auto server = StartServer(kOneWorker, "wrong_messages");
  GoodWorker good(server.get());
  v1::Gradient gradient;
  gradient.set_step(1);
  struct Case {
    const char* name;
    std::function<bool(GrpcWorker*)> act;
    grpc::StatusCode code;
    const char* says;
  };
  const Case cases[] = {
      {"gradient before hello", [&](GrpcWorker* w) { return w->Send(gradient); },
       grpc::StatusCode::INVALID_ARGUMENT, "hello must be the first"},
      {"caught up before hello", [](GrpcWorker* w) { return w->SendCaughtUp(); },
       grpc::StatusCode::INVALID_ARGUMENT, "hello must be the first"},
      {"hello twice", [](GrpcWorker* w) { return w->SendHello() && w->SendHello(); },
       grpc::StatusCode::INVALID_ARGUMENT, "and only it"},
      {"nothing in it",
       [](GrpcWorker* w) { return w->SendHello() && w->stream().Write(v1::TrainRequest()); },
       grpc::StatusCode::INVALID_ARGUMENT, "without hello, caught_up or gradient"},
      {"a step far ahead",
       [&](GrpcWorker* w) {
         v1::Gradient ahead;
         ahead.set_step(99);
         return w->SendHello() && w->Send(ahead);
       },
       grpc::StatusCode::INVALID_ARGUMENT, "step 99"},
      {"a message over the limit",
       [](GrpcWorker* w) {
         v1::Gradient big;
         big.add_blocks()->set_payload(std::string(kMaxMessageBytes + 1, 'x'));
         return w->SendHello() && w->Send(big);
       },
       grpc::StatusCode::RESOURCE_EXHAUSTED, ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    GrpcWorker bad(server->address(), std::string("bad ") + c.name);
    ASSERT_TRUE(bad.Join().ok());
    bad.OpenStream();
    c.act(&bad);
    v1::TrainResponse response;
    while (bad.Read(&response)) {
    }
    const grpc::Status status = bad.Finish();
    EXPECT_EQ(status.error_code(), c.code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(c.says));
    EXPECT_TRUE(good.Steps(3));
  }
}

TEST(BadClientTest, AnUnknownWorkerIsNotFoundAndAnOldIncarnationAborted) {
  const auto server = StartServer(kOneWorker, "unknown");
  GrpcWorker stranger(server->address(), "stranger");
  stranger.OpenStream();
  ASSERT_TRUE(stranger.SendHello());
  EXPECT_EQ(stranger.Finish().error_code(), grpc::StatusCode::NOT_FOUND);
  GrpcWorker first(server->address(), "twin");
  ASSERT_TRUE(first.Join(1).ok());
  v1::LeaveResponse ignored;
  ASSERT_TRUE(first.Leave(&ignored).ok());
  GrpcWorker second(server->address(), "twin");
  ASSERT_TRUE(second.Join(2).ok());
  first.OpenStream();
  ASSERT_TRUE(first.SendHello());
  const grpc::Status fenced = first.Finish();
  EXPECT_EQ(fenced.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(fenced.error_message(), HasSubstr("has been replaced by 2"));
  second.OpenStream();
  ASSERT_TRUE(second.SendHello());
  v1::TrainResponse response;
  GrpcWorker third(server->address(), "twin");
  ASSERT_TRUE(second.SendCaughtUp());
  ASSERT_TRUE(second.Read(&response));
  const grpc::Status taken = third.Join(3);
  EXPECT_EQ(taken.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(taken.error_message(), HasSubstr("127.0.0.1"));
}

// What the coordinator says of a payload must reach the one who sent it, not "ABORTED".
TEST(BadClientTest, ARefusedPayloadIsAnsweredWithTheReason) {
  const auto server = StartServer(kOneWorker, "refused");
  GrpcWorker bad(server->address(), "bad");
  ASSERT_TRUE(bad.Enter());
  std::vector<std::string> parts;
  ASSERT_TRUE(bad.ReadRecord(0, &parts));
  auto payload = MakePayload(*server->coordinator().job(), 1,
                             std::string(AsView(ChainHashOf(parts))), std::vector<float>(8, 1.0f));
  payload[0].mutable_blocks(0)->mutable_payload()->replace(4, 4, "\xff\xff\xff\xff");
  ASSERT_TRUE(bad.Send(payload[0]));
  const grpc::Status status = bad.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  for (const char* part : {"worker \"bad\" (rank 0)", "step 1", "block 0", "coordinate 1", "nan"}) {
    EXPECT_THAT(status.error_message(), HasSubstr(part));
  }
}

TEST(BadClientTest, GarbageBytesAreRefused) {
  const auto server = StartServer(kOneWorker, "garbage");
  GoodWorker good(server.get());
  for (const std::string& garbage :
       {std::string("\xff\xff\xff\xff\xff"), std::string(5000, '\x0a'), std::string("\x1a\x7f")}) {
    grpc::GenericStub stub(Connect(server->address()));
    grpc::ClientContext context;
    SetDeadline(&context);
    grpc::CompletionQueue queue;
    void* tag;
    bool ok;
    auto call = stub.PrepareCall(&context, "/gradwire.v1.ParameterServer/Train", &queue);
    call->StartCall(nullptr);
    queue.Next(&tag, &ok);
    const grpc::Slice slice(garbage);
    call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    queue.Next(&tag, &ok);
    grpc::Status status;
    call->Finish(&status, nullptr);
    queue.Next(&tag, &ok);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("is no TrainRequest"));
    EXPECT_TRUE(good.Steps(3));
  }
}

// A hello whose sender is gone before it is handled leaves nothing behind that could be called.
TEST(BadClientTest, StreamsThatAreCancelledRightAfterHelloDoNoHarm) {
  const auto server = StartServer(kOneWorker, "cancelled");
  GoodWorker good(server.get());
  GrpcWorker flighty(server->address(), "flighty");
  ASSERT_TRUE(flighty.Join().ok());
  for (int i = 0; i < 200; ++i) {
    flighty.OpenStream();
    flighty.SendHello();
    flighty.context().TryCancel();
    if (i % 20 == 0) {
      ASSERT_TRUE(good.Steps(1));
    }
    flighty.Finish();
  }
  EXPECT_TRUE(good.Steps(3));
}

// 40 updates of 256 KiB wait for one who never reads: what is under way stays within the
// windows of both sides, and the other worker does not notice.
TEST(BadClientTest, AReaderThatNeverReadsIsBounded) {
  ServerOptions options;
  options.stream_window = size_t{64} << 10;
  const auto server = StartServer(
      "model { tensors { tensor { name: 'w' shape: 65536 } } } steps: 1000 codec: 'identity' "
      "membership { lease_seconds: 60 }",
      "never_reads", options);
  GoodWorker good(server.get());
  GrpcWorker idle(server->address(), "idle");
  ASSERT_TRUE(idle.Join().ok());
  idle.OpenStream();
  ASSERT_TRUE(idle.SendHello());
  const uint64_t update = 65536 * sizeof(float);
  ASSERT_TRUE(good.Steps(40));
  const uint64_t to_good = 40 * update;
  EXPECT_GE(server->counters().down_payload_bytes.value(), to_good);
  EXPECT_LT(server->counters().down_wire_bytes.value(), to_good + (size_t{8} << 20));
  idle.context().TryCancel();
}

}  // namespace
}  // namespace gradwire
