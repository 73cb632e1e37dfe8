// SPDX-License-Identifier: Apache-2.0
// A session from Join to Leave, and the errors that end one.
#include "worker/client/session.h"

#include <thread>

#include "common/replica/snapshot.h"
#include "tests/worker/client/session_fixture.h"

namespace gradwire {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST_F(SessionTest, WorksFromJoinToLeave) {
  v1::TrainRequest hello, caught_up, payload;
  server_.trains = {[&](TrainStreamPair* stream) {
    ReadUntil(v1::TrainRequest::kHello, stream, &hello);
    ReadUntil(v1::TrainRequest::kCaughtUp, stream, &caught_up);
    SendParts(record0_, stream);
    ReadUntil(v1::TrainRequest::kGradient, stream, &payload);
    SendParts(LastRecord(1.0f), stream);
    return StayOpen(stream);
  }};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->kind, Turn::Kind::kCompute);
  EXPECT_EQ(turn->step, 1u);
  EXPECT_EQ(turn->learning_rate, 0.5f);
  EXPECT_TRUE(turn->evaluate);
  ASSERT_TRUE(PushGradient(session->get(), 2.0f).ok());
  turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->kind, Turn::Kind::kFinished);
  EXPECT_TRUE(turn->evaluate);
  EXPECT_EQ((*session)->version(), 1u);
  EXPECT_THAT((*session)->parameters(), testing::Each(-1.0f));
  EXPECT_EQ(PushGradient(session->get(), 1).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE((*session)->Leave("finished", std::nullopt).ok());

  EXPECT_EQ(hello.hello().worker_id(), kWorker);
  EXPECT_TRUE(hello.hello().at().chain_hash().empty());
  EXPECT_TRUE(payload.gradient().end().has_replica_hash());
  EXPECT_EQ(payload.gradient().blocks(0).payload(), Bytes(std::vector<float>(8, 1.0f)));
  ASSERT_EQ(server_.leaves().size(), 1u);
  EXPECT_EQ(server_.leaves()[0].at().version(), 1u);
  EXPECT_EQ(server_.leaves()[0].parameters_hash(), (*session)->ParametersHash());
  const SessionTraffic traffic = (*session)->traffic();
  EXPECT_EQ(traffic.up_payload_bytes, 32u);
  EXPECT_EQ(traffic.down_payload_bytes, 32u);
  EXPECT_EQ(traffic.up_wire_bytes,
            hello.ByteSizeLong() + caught_up.ByteSizeLong() + payload.ByteSizeLong() + 3 * 5);
}

TEST_F(SessionTest, LeaveNamesBothHashesWhenTheServerEndedElsewhere) {
  server_.leave_hash = 0x1234;
  server_.trains = {[&](TrainStreamPair* stream) {
    SendParts(record0_, stream);
    SendParts(LastRecord(1.0f), stream);
    return StayOpen(stream);
  }};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  absl::StatusOr<Turn> turn = (*session)->NextTurn();
  while (turn.ok() && turn->kind == Turn::Kind::kCompute) {
    PushGradient(session->get(), 2.0f).IgnoreError();
    turn = (*session)->NextTurn();
  }
  ASSERT_TRUE(turn.ok()) << turn.status();
  const absl::Status left = (*session)->Leave("finished", std::nullopt);
  EXPECT_EQ(left.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(left.message(), AllOf(HasSubstr(HashText((*session)->ParametersHash())),
                                    HasSubstr("xxh3:0000000000001234")));
}

TEST_F(SessionTest, AServerThatIsGoneAtTheEndIsOnlyWarnedAbout) {
  server_.leave_error = kUnavailable;
  server_.trains = {[&](TrainStreamPair* stream) {
    SendParts(record0_, stream);
    v1::TrainRequest payload;
    ReadUntil(v1::TrainRequest::kGradient, stream, &payload);
    SendParts(LastRecord(1.0f), stream);
    return grpc::Status::OK;
  }};
  server_.Start();
  auto session = Connect(absl::Milliseconds(300));
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE((*session)->NextTurn().ok());
  ASSERT_TRUE(PushGradient(session->get(), 2.0f).ok());
  ASSERT_TRUE((*session)->NextTurn().ok());
  testing::internal::CaptureStdout();  // where the log goes that nobody set up
  EXPECT_EQ((*session)->Leave("finished", std::nullopt), absl::OkStatus());
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("the job has ended"));
  EXPECT_GT(server_.leaves().size(), 1u);
}

TEST_F(SessionTest, AServerThatIsGoneBeforeTheEndIsAnError) {
  server_.leave_error = kUnavailable;
  server_.trains = {StayOpen};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ((*session)->Leave("asked to stop", std::nullopt).code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(SessionTest, RefusesToSaveNever) {
  const absl::Status status =
      Session::Connect({.server = "127.0.0.1:1", .worker_id = kWorker, .state_every = 0}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("--state_every"));
}

TEST_F(SessionTest, GivesUpOnASnapshotThatIsNotWhatItSaid) {
  for (const uint64_t announced : {uint64_t{3}, uint64_t{5}, uint64_t{1} << 40}) {
    SCOPED_TRACE(announced);
    FakeServer server(job_);
    v1::GetModelResponse chunk;
    chunk.set_chunk("four");
    chunk.set_total_bytes(announced);
    server.models = {chunk};
    server.join.set_oldest_version(10);
    server.join.mutable_newest()->set_version(20);
    server.join.mutable_newest()->set_chain_hash(std::string(16, 'n'));
    server.trains = {StayOpen};
    server.Start();
    const auto session = Session::Connect({.server = server.address(), .worker_id = kWorker});
    ASSERT_TRUE(session.ok()) << session.status();
    const absl::Status status = (*session)->NextTurn().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  }
}

TEST_F(SessionTest, TakesTheFinalModelOfAJobThatIsOver) {
  Replica final_replica(job_);
  Replica::Contents contents;
  contents.version = 100;
  contents.chain_hash.fill('f');
  contents.parameters.assign(8, 7.0f);
  ASSERT_TRUE(final_replica.Load(contents).ok());
  v1::GetModelResponse chunk;
  chunk.mutable_point()->set_version(100);
  chunk.set_chunk(EncodeSnapshot(final_replica, true));
  chunk.set_total_bytes(chunk.chunk().size());
  server_.models = {chunk};
  server_.join.set_finished(true);
  server_.join.set_oldest_version(90);
  server_.join.mutable_newest()->set_version(100);
  server_.join.mutable_newest()->set_chain_hash(std::string(16, 'f'));
  server_.trains = {StayOpen};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  const auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->kind, Turn::Kind::kFinished);
  EXPECT_FALSE(turn->evaluate);
  EXPECT_THAT((*session)->parameters(), testing::Each(7.0f));
}

// The server was stopped, or has cut off a worker that was stopped for a while.
TEST_F(SessionTest, ASnapshotThatIsBrokenOffIsAskedForAgain) {
  Replica final_replica(job_);
  Replica::Contents contents;
  contents.version = 100;
  contents.chain_hash.fill('f');
  contents.parameters.assign(8, 7.0f);
  ASSERT_TRUE(final_replica.Load(contents).ok());
  const std::string file = EncodeSnapshot(final_replica, true);
  v1::GetModelResponse begin;
  begin.mutable_point()->set_version(100);
  begin.set_total_bytes(file.size());
  begin.set_chunk(file.substr(0, 100));
  v1::GetModelResponse rest;
  rest.set_chunk(file.substr(100));
  server_.models = {begin, rest};
  server_.model_errors = {kUnavailable,
                          {grpc::StatusCode::CANCELLED, "nobody took the chunk"},
                          {grpc::StatusCode::RESOURCE_EXHAUSTED, "try again"}};
  server_.join.set_finished(true);
  server_.join.set_oldest_version(90);
  server_.join.mutable_newest()->set_version(100);
  server_.join.mutable_newest()->set_chain_hash(std::string(16, 'f'));
  server_.trains = {StayOpen};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  const auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->kind, Turn::Kind::kFinished);
  EXPECT_EQ(server_.models_asked().size(), 4u);
  EXPECT_THAT((*session)->parameters(), testing::Each(7.0f));
}

// This id's earlier process was killed a moment ago, and the server has not seen it yet.
TEST_F(SessionTest, WaitsAMomentForTheHolderOfItsIdToGo) {
  const grpc::Status held(grpc::StatusCode::ALREADY_EXISTS, "worker id is alive at");
  server_.join_errors = {held, held};
  server_.trains = {StayOpen};
  server_.Start();
  const auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(server_.joins().size(), 3u);
}

TEST_F(SessionTest, StopsAtErrorsThatAnotherTryCannotMend) {
  for (const grpc::StatusCode code :
       {grpc::StatusCode::INVALID_ARGUMENT, grpc::StatusCode::FAILED_PRECONDITION,
        grpc::StatusCode::DATA_LOSS}) {
    SCOPED_TRACE(code);
    for (const bool at_join : {true, false}) {
      FakeServer server(job_);
      const grpc::Status error(code, "block 3 has 7 bytes");
      if (at_join) server.join_errors = {error};
      server.trains = {[&](TrainStreamPair*) { return error; }};
      server.Start();
      auto session = Session::Connect({.server = server.address(), .worker_id = kWorker});
      absl::Status status = session.status();
      if (session.ok()) status = (*session)->NextTurn().status();
      EXPECT_EQ(static_cast<int>(status.code()), static_cast<int>(code)) << status;
      EXPECT_THAT(status.message(),
                  AllOf(HasSubstr(server.address()), HasSubstr("block 3 has 7 bytes")));
      EXPECT_EQ(server.joins().size(), 1u);
    }
  }
}

TEST_F(SessionTest, RefusesAJobWithAnotherSchemaOrRevision) {
  struct Case {
    const char* name;
    uint64_t expected;
    uint64_t answered;
    uint32_t revision;
  };
  for (const Case& c : {Case{"the_workers", 99, job_->schema_hash, kApplyRevision},
                        Case{"the_servers", 0, 99, kApplyRevision},
                        Case{"revision", 0, job_->schema_hash, kApplyRevision + 1}}) {
    SCOPED_TRACE(c.name);
    FakeServer server(job_);
    server.join.set_schema_hash(c.answered);
    server.join.set_apply_revision(c.revision);
    server.trains = {StayOpen};
    server.Start();
    const auto session = Session::Connect(
        {.server = server.address(), .worker_id = kWorker, .schema_hash = c.expected});
    EXPECT_EQ(session.status().code(), absl::StatusCode::kFailedPrecondition);
  }
}

TEST_F(SessionTest, GivesUpNamingAddressTimeAndLastError) {
  server_.trains = {StayOpen};
  server_.Start();
  server_.Stop();
  const auto session = Connect(absl::Milliseconds(300));
  EXPECT_EQ(session.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(session.status().message(),
              AllOf(HasSubstr(server_.address()), HasSubstr("300ms"), HasSubstr("last error")));
}

TEST_F(SessionTest, AStopRequestEndsEveryWait) {
  server_.trains = {StayOpen};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  std::thread other([this] {
    server_.WaitForHeartbeats(1);
    stop_.Request(15);
  });
  EXPECT_EQ((*session)->NextTurn().status().code(), absl::StatusCode::kCancelled);
  other.join();
  EXPECT_TRUE((*session)->Leave("asked to stop", std::nullopt).ok());
  EXPECT_EQ(server_.leaves()[0].reason(), "asked to stop");
  EXPECT_EQ(Connect().status().code(), absl::StatusCode::kCancelled);
}

TEST_F(SessionTest, ReportsAStopBeforeTheEnd) {
  server_.trains = {[&](TrainStreamPair* stream) {
    SendParts(record0_, stream);
    v1::TrainResponse stop;
    stop.mutable_control()->mutable_stop()->set_reason("all workers abstain");
    stream->Write(stop);
    return StayOpen(stream);
  }};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  absl::StatusOr<Turn> turn = (*session)->NextTurn();
  if (turn.ok()) {  // the stop has not come yet: it does while the step is open
    PushGradient(session->get(), 2.0f).IgnoreError();
    turn = (*session)->NextTurn();
  }
  EXPECT_EQ(turn.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(turn.status().message(), HasSubstr("all workers abstain"));
  EXPECT_TRUE((*session)->stopped());
}

}  // namespace
}  // namespace gradwire
