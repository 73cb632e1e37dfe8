// SPDX-License-Identifier: Apache-2.0
// A follower whose server does what the real one would not do on demand.
#include "worker/client/observer.h"

#include "common/replica/snapshot.h"
#include "gradwire/v1/admin.grpc.pb.h"
#include "tests/worker/client/session_fixture.h"

namespace gradwire {
namespace {

using testing::Each;
using testing::HasSubstr;

class FakeAdmin final : public v1::Admin::Service {
 public:
  explicit FakeAdmin(v1::JobConfig job) : job_(std::move(job)) {}
  grpc::Status GetStatus(grpc::ServerContext*, const v1::GetStatusRequest*,
                         v1::GetStatusResponse* response) override {
    *response->mutable_job() = job_;
    return grpc::Status::OK;
  }

 private:
  const v1::JobConfig job_;
};

class ObserverTest : public testing::Test {
 protected:
  ObserverTest() : maker_(job_->plans[0].codec->id()), fake_(job_), admin_(job_->config) {
    for (uint64_t version = 0; version < 3; ++version) {
      v1::Header header = version < 2 ? HeaderFor(1) : LastHeader();
      if (version == 1) header.add_used()->set_incarnation(1);
      const std::vector<float> ones(job_->layout.dimension(), 1.0f);
      records_.push_back(maker_.Next(header, version == 0 ? std::vector<std::string>{}
                                                          : std::vector<std::string>{Bytes(ones)}));
    }
  }
  ~ObserverTest() override {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
  }

  // After the scripts are set.
  absl::StatusOr<std::unique_ptr<Observer>> Connect(uint64_t schema_hash = 0) {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&fake_);
    builder.RegisterService(&admin_);
    server_ = builder.BuildAndStart();
    return Observer::Connect({.server = absl::StrCat("127.0.0.1:", port),
                              .name = "reader",
                              .give_up_after = absl::Seconds(30),
                              .schema_hash = schema_hash});
  }

  // A snapshot of what the first `count` records give.
  void ServeSnapshotAfter(size_t count) {
    Replica replica(job_);
    for (size_t i = 0; i < count; ++i) {
      ASSERT_TRUE(replica.Apply(*MakeRecord(i, records_[i])).ok());
    }
    v1::GetModelResponse& model = fake_.models.emplace_back();
    model.set_chunk(EncodeSnapshot(replica, true));
    model.set_total_bytes(model.chunk().size());
  }

  static void Send(v1::Control control, TrainStreamPair* stream) {
    v1::TrainResponse response;
    *response.mutable_control() = std::move(control);
    stream->Write(response);
  }
  static v1::Control Stop() {
    v1::Control control;
    control.mutable_stop()->set_reason("the job has ended");
    return control;
  }
  static v1::Control Resync() {
    v1::Control control;
    control.mutable_resync()->set_reason("not on the log");
    return control;
  }

  const std::shared_ptr<const Job> job_ = MakeTestJob({});
  RecordMaker maker_;
  FakeServer fake_;
  FakeAdmin admin_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::vector<std::string>> records_;  // 0 to 2, the last one the job's end
};

void ExpectMoves(Observer* observer, uint64_t version) {
  const absl::StatusOr<bool> moved = observer->Next();
  ASSERT_TRUE(moved.ok()) << moved.status();
  EXPECT_TRUE(*moved);
  EXPECT_EQ(observer->replica().version(), version);
}

void ExpectEnds(Observer* observer, uint64_t version, float value) {
  const absl::StatusOr<bool> moved = observer->Next();
  ASSERT_TRUE(moved.ok()) << moved.status();
  EXPECT_FALSE(*moved);
  EXPECT_EQ(observer->replica().version(), version);
  EXPECT_THAT(observer->replica().parameters(), Each(value));
}

TEST_F(ObserverTest, ShowsEveryVersionAndSendsNothingButItsHello) {
  v1::TrainRequest hello;
  bool more = true;
  fake_.trains = {[&](TrainStreamPair* stream) {
    stream->Read(&hello);
    for (const auto& record : records_) SendParts(record, stream);
    v1::TrainRequest other;
    more = stream->Read(&other);
    return grpc::Status::OK;
  }};
  auto observer = Connect();
  ASSERT_TRUE(observer.ok()) << observer.status();
  for (const uint64_t version : {0, 1, 2}) ExpectMoves(observer->get(), version);
  ExpectEnds(observer->get(), 2, -2.0f);  // plain sgd subtracts payloads as they are
  observer->reset();
  server_->Shutdown();
  EXPECT_FALSE(more);
  EXPECT_TRUE(hello.hello().follower());
  EXPECT_EQ(hello.hello().schema_hash(), job_->schema_hash);
  EXPECT_EQ(hello.hello().worker_id(), "reader");
  EXPECT_FALSE(hello.hello().has_at());
  EXPECT_TRUE(fake_.joins().empty());
}

TEST_F(ObserverTest, AStreamThatBreaksInARecordGoesOnAfterTheLastWholeOne) {
  v1::TrainRequest second;
  v1::Control resend;
  resend.mutable_resend()->set_step(1);
  fake_.trains = {[&](TrainStreamPair* stream) {
                    SendParts(records_[0], stream);
                    Send(resend, stream);  // is for members
                    return kUnavailable;
                  },
                  [&](TrainStreamPair* stream) {
                    stream->Read(&second);
                    SendParts(records_[1], stream);
                    SendParts(records_[2], stream);
                    return StayOpen(stream);
                  }};
  auto observer = Connect();
  ASSERT_TRUE(observer.ok()) << observer.status();
  for (const uint64_t version : {0, 1, 2}) ExpectMoves(observer->get(), version);
  ExpectEnds(observer->get(), 2, -2.0f);
  EXPECT_TRUE(second.hello().has_at());
  EXPECT_EQ(second.hello().at().version(), 0u);
  EXPECT_EQ(second.hello().at().chain_hash(), AsView(ChainHashOf(records_[0])));
}

TEST_F(ObserverTest, AResyncIsAnsweredByTheNewestSnapshot) {
  ServeSnapshotAfter(2);
  v1::TrainRequest second;
  fake_.trains = {[&](TrainStreamPair* stream) {
                    Send(Resync(), stream);
                    return StayOpen(stream);
                  },
                  [&](TrainStreamPair* stream) {
                    stream->Read(&second);
                    SendParts(records_[2], stream);
                    return StayOpen(stream);
                  }};
  auto observer = Connect();
  ASSERT_TRUE(observer.ok()) << observer.status();
  ExpectMoves(observer->get(), 1);
  ExpectMoves(observer->get(), 2);
  ExpectEnds(observer->get(), 2, -2.0f);
  EXPECT_EQ(second.hello().at().version(), 1u);
}

TEST_F(ObserverTest, WhoDidNotReadToTheEndTakesTheFinalSnapshot) {
  ServeSnapshotAfter(3);
  fake_.trains = {[&](TrainStreamPair* stream) {
    SendParts(records_[0], stream);
    Send(Stop(), stream);
    return grpc::Status::OK;
  }};
  auto observer = Connect();
  ASSERT_TRUE(observer.ok()) << observer.status();
  ExpectMoves(observer->get(), 0);
  ExpectMoves(observer->get(), 2);
  ExpectEnds(observer->get(), 2, -2.0f);
}

TEST_F(ObserverTest, AServerThatStopsOrResyncsForEverIsGivenUp) {
  for (const v1::Control& control : {Stop(), Resync()}) {
    fake_.trains = {[&](TrainStreamPair* stream) {
      Send(control, stream);
      return StayOpen(stream);
    }};
    auto observer = Connect();
    ASSERT_TRUE(observer.ok()) << observer.status();
    const absl::Status status = (*observer)->Next().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("6 times"));
    observer->reset();
    server_->Shutdown();
  }
}

TEST_F(ObserverTest, RefusesAnotherJobThanTheOneExpected) {
  const absl::Status status = Connect(job_->schema_hash + 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(HashText(job_->schema_hash)));
}

TEST_F(ObserverTest, UpdatesThatAreNoneEndIt) {
  fake_.trains = {[&](TrainStreamPair* stream) {
    SendParts({"nonsense"}, stream);
    return StayOpen(stream);
  }};
  auto observer = Connect();
  ASSERT_TRUE(observer.ok()) << observer.status();
  EXPECT_EQ((*observer)->Next().status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace gradwire
