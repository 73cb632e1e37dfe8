// SPDX-License-Identifier: Apache-2.0
// A session whose server breaks off, falls silent or changes its mind.
#include "common/replica/snapshot.h"
#include "tests/worker/client/session_fixture.h"

namespace gradwire {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST_F(SessionTest, SendsTheSamePayloadWhenAskedAgain) {
  v1::TrainRequest first, second;
  server_.trains = {[&](TrainStreamPair* stream) {
    SendParts(record0_, stream);
    ReadUntil(v1::TrainRequest::kGradient, stream, &first);
    v1::TrainResponse resend;
    resend.mutable_control()->mutable_resend()->set_step(1);
    stream->Write(resend);
    ReadUntil(v1::TrainRequest::kGradient, stream, &second);
    SendParts(LastRecord(1.0f), stream);
    return StayOpen(stream);
  }};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE((*session)->NextTurn().ok());
  ASSERT_TRUE(PushGradient(session->get(), 2.0f).ok());
  const auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->kind, Turn::Kind::kFinished);
  EXPECT_EQ(second.SerializeAsString(), first.SerializeAsString());
}

TEST_F(SessionTest, ComesBackWithHelloAndSendsTheOpenStepAgain) {
  v1::TrainRequest hello, payload;
  server_.trains = {[&](TrainStreamPair* stream) {
                      SendParts(record0_, stream);
                      v1::TrainRequest lost;
                      ReadUntil(v1::TrainRequest::kGradient, stream, &lost);
                      return kUnavailable;
                    },
                    [&](TrainStreamPair* stream) {
                      ReadUntil(v1::TrainRequest::kHello, stream, &hello);
                      ReadUntil(v1::TrainRequest::kGradient, stream, &payload);
                      SendParts(LastRecord(1.0f), stream);
                      return StayOpen(stream);
                    }};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE((*session)->NextTurn().ok());
  const ChainHash at = maker_.chain_hash();
  ASSERT_TRUE(PushGradient(session->get(), 2.0f).ok());
  const auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->kind, Turn::Kind::kFinished);
  EXPECT_EQ(hello.hello().incarnation(), 1u);
  EXPECT_EQ(hello.hello().session(), server_.joins()[0].session());
  EXPECT_EQ(hello.hello().at().chain_hash(), std::string(AsView(at)));
  EXPECT_EQ(payload.gradient().step(), 1u);
  EXPECT_EQ(server_.joins().size(), 1u);
  EXPECT_EQ((*session)->reconnects(), 1u);
}

TEST_F(SessionTest, JoinsAgainAsAnotherSessionWhenTheLeaseIsLost) {
  v1::TrainRequest second;
  server_.trains = {[&](TrainStreamPair* stream) {
                      SendParts(record0_, stream);
                      v1::TrainRequest lost;
                      ReadUntil(v1::TrainRequest::kGradient, stream, &lost);
                      return kAborted;
                    },
                    [&](TrainStreamPair* stream) {
                      // The step closed without this worker: its payload returns, and comes with
                      // the next.
                      SendParts(maker_.Next(HeaderFor(2), {}), stream);
                      ReadUntil(v1::TrainRequest::kGradient, stream, &second);
                      SendParts(LastRecord(2.0f), stream);
                      return StayOpen(stream);
                    }};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE((*session)->NextTurn().ok());
  ASSERT_TRUE(PushGradient(session->get(), 2.0f).ok());
  const auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->step, 2u);
  ASSERT_TRUE(PushGradient(session->get(), 2.0f).ok());
  ASSERT_TRUE((*session)->NextTurn().ok());
  EXPECT_EQ(second.gradient().step(), 2u);
  EXPECT_EQ(second.gradient().blocks(0).payload(), Bytes(std::vector<float>(8, 2.0f)));
  const auto joins = server_.joins();
  ASSERT_EQ(joins.size(), 2u);
  EXPECT_NE(joins[0].session(), joins[1].session());
  EXPECT_EQ(joins[1].schema_hash(), job_->schema_hash);
}

class FixedSessionTest : public SessionTest {
 protected:
  FixedSessionTest() : SessionTest({.mode = v1::Membership::FIXED}) {}
};

// A fixed member's place stays while its lease is lost: the payload it holds is sent as the new
// incarnation, and is its own whichever of the two the update names.
TEST_F(FixedSessionTest, SendsWhatItHoldsAsItsNewIncarnation) {
  for (const uint64_t used : {uint64_t{1}, uint64_t{2}}) {
    SCOPED_TRACE(used);
    FakeServer server(job_);
    RecordMaker maker(job_->plans[0].codec->id());
    const auto record0 = maker.Next(HeaderFor(1), {});
    const auto record1 = maker.Next(HeaderFor(1, {used}), {Bytes(std::vector<float>(8, 1.0f))});
    v1::TrainRequest first, again, next;
    server.trains = {[&](TrainStreamPair* stream) {
                       SendParts(record0, stream);
                       ReadUntil(v1::TrainRequest::kGradient, stream, &first);
                       return kAborted;
                     },
                     [&](TrainStreamPair* stream) {
                       ReadUntil(v1::TrainRequest::kGradient, stream, &again);
                       SendParts(record1, stream);
                       ReadUntil(v1::TrainRequest::kGradient, stream, &next);
                       SendParts(maker.Next(LastHeader(), {Bytes(std::vector<float>(8, 1.0f))}),
                                 stream);
                       return StayOpen(stream);
                     }};
    server.Start();
    auto session = Session::Connect({.server = server.address(), .worker_id = kWorker});
    ASSERT_TRUE(session.ok()) << session.status();
    ASSERT_TRUE((*session)->NextTurn().ok());
    ASSERT_TRUE(PushGradient(session->get(), 2.0f).ok());
    auto turn = (*session)->NextTurn();
    ASSERT_TRUE(turn.ok()) << turn.status();
    EXPECT_EQ(turn->step, 2u);
    EXPECT_FALSE(turn->replay);
    ASSERT_TRUE(PushGradient(session->get(), 2.0f).ok());
    turn = (*session)->NextTurn();
    ASSERT_TRUE(turn.ok()) << turn.status();
    EXPECT_EQ(again.SerializeAsString(), first.SerializeAsString());
    // Nothing came back into the residual.
    EXPECT_EQ(next.gradient().blocks(0).payload(), Bytes(std::vector<float>(8, 1.0f)));
  }
}

// The answer to Join may promise what a server has lost when it comes back: it is asked again.
TEST_F(SessionTest, AsksAgainHowFarTheLogGoesWhenItIsCutOffOnTheWay) {
  v1::TrainRequest caught_up;
  server_.join.mutable_newest()->set_version(7);
  server_.join.mutable_newest()->set_chain_hash(std::string(16, 'n'));
  server_.on_join = [this](size_t call, const v1::JoinRequest&, v1::JoinResponse* response) {
    if (call == 1) return;
    response->mutable_newest()->set_version(0);
    response->mutable_newest()->set_chain_hash(std::string(AsView(maker_.chain_hash())));
  };
  server_.trains = {[&](TrainStreamPair* stream) {
                      SendParts(record0_, stream);
                      return kUnavailable;
                    },
                    [&](TrainStreamPair* stream) {
                      ReadUntil(v1::TrainRequest::kCaughtUp, stream, &caught_up);
                      return StayOpen(stream);
                    }};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  const auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->step, 1u);
  EXPECT_EQ(server_.joins().size(), 2u);
  EXPECT_EQ(server_.joins()[0].session(), server_.joins()[1].session());
}

// The answer to its second Join has a job that was changed meanwhile.
TEST_F(SessionTest, ComesBackToAJobWhoseSettingsHaveChanged) {
  server_.on_join = [](size_t call, const v1::JoinRequest&, v1::JoinResponse* response) {
    if (call == 1) return;
    v1::JobConfig* job = response->mutable_job();
    job->set_steps(job->steps() + 500);
    job->set_snapshot_every(3);
    job->set_schedule(0, "linear_warmup:7");
    job->mutable_membership()->set_lease_seconds(5);
    job->mutable_membership()->set_step_timeout_seconds(99);
    response->set_lease_seconds(5);
  };
  server_.trains = {[&](TrainStreamPair* stream) {
                      SendParts(record0_, stream);
                      v1::TrainRequest lost;
                      ReadUntil(v1::TrainRequest::kGradient, stream, &lost);
                      return kAborted;
                    },
                    [&](TrainStreamPair* stream) {
                      SendParts(LastRecord(1.0f), stream);
                      return StayOpen(stream);
                    }};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE((*session)->NextTurn().ok());
  ASSERT_TRUE(PushGradient(session->get(), 2.0f).ok());
  const auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->kind, Turn::Kind::kFinished);
  EXPECT_EQ(server_.joins().size(), 2u);
}

TEST_F(SessionTest, DoesNotComeBackToAJobOfAnotherIdentity) {
  server_.on_join = [](size_t call, const v1::JoinRequest&, v1::JoinResponse* response) {
    if (call > 1) response->mutable_job()->mutable_trainer()->set_batch(7);
  };
  server_.trains = {[&](TrainStreamPair* stream) {
    SendParts(record0_, stream);
    v1::TrainRequest lost;
    ReadUntil(v1::TrainRequest::kGradient, stream, &lost);
    return kAborted;
  }};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE((*session)->NextTurn().ok());
  PushGradient(session->get(), 2.0f).IgnoreError();
  const auto turn = (*session)->NextTurn();
  EXPECT_EQ(turn.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(turn.status().message()),
              AllOf(HasSubstr("is no longer the one this worker began with"),
                    HasSubstr("modified: trainer.batch: 64 -> 7")));
}

TEST_F(SessionTest, ResyncTakesTheSnapshotAndForgetsTheResidual) {
  Replica snapshot(job_);
  Replica::Contents contents;
  contents.version = 30;
  contents.chain_hash.fill('s');
  contents.parameters.assign(8, 5.0f);
  ASSERT_TRUE(snapshot.Load(contents).ok());
  v1::GetModelResponse chunk;
  chunk.mutable_point()->set_version(30);
  chunk.set_chunk(EncodeSnapshot(snapshot, true));
  chunk.set_total_bytes(chunk.chunk().size());
  server_.models = {chunk};
  v1::TrainRequest hello, payload;
  server_.trains = {[&](TrainStreamPair* stream) {
                      SendParts(record0_, stream);
                      ReadUntil(v1::TrainRequest::kGradient, stream, &payload);
                      v1::TrainResponse resync;
                      resync.mutable_control()->mutable_resync()->set_reason("another history");
                      stream->Write(resync);
                      return StayOpen(stream);
                    },
                    [&](TrainStreamPair* stream) {
                      ReadUntil(v1::TrainRequest::kHello, stream, &hello);
                      v1::UpdatePart part;
                      part.set_version(31);
                      part.set_codec(v1::CODEC_IDENTITY);
                      *part.mutable_header() = HeaderFor(1);
                      part.mutable_header()->set_previous_chain_hash(std::string(16, 's'));
                      SendParts({part.SerializeAsString()}, stream);
                      ReadUntil(v1::TrainRequest::kGradient, stream, &payload);
                      return StayOpen(stream);
                    }};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE((*session)->NextTurn().ok());
  ASSERT_TRUE(PushGradient(session->get(), 2.0f).ok());
  const auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->step, 32u);
  EXPECT_THAT((*session)->parameters(), testing::Each(5.0f));
  EXPECT_EQ(hello.hello().at().version(), 30u);
  EXPECT_EQ(hello.hello().at().chain_hash(), std::string(16, 's'));
}

TEST_F(SessionTest, ResyncWithoutASnapshotStartsAtTheSeedAndIsBounded) {
  v1::TrainRequest hello;
  server_.trains = {[&](TrainStreamPair* stream) {
    ReadUntil(v1::TrainRequest::kHello, stream, &hello);
    v1::TrainResponse resync;
    resync.mutable_control()->mutable_resync()->set_reason("not on the log");
    stream->Write(resync);
    return StayOpen(stream);
  }};
  server_.Start();
  auto session = Connect();
  absl::Status status = session.status();
  if (session.ok()) status = (*session)->NextTurn().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), AllOf(HasSubstr(server_.address()), HasSubstr("not on the log")));
  EXPECT_TRUE(hello.hello().at().chain_hash().empty());
}

TEST_F(SessionTest, RetriesAJoinAsTheSameSession) {
  server_.join_errors = {kUnavailable, {grpc::StatusCode::RESOURCE_EXHAUSTED, "too many"}};
  server_.trains = {StayOpen};
  server_.Start();
  const auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  const auto joins = server_.joins();
  ASSERT_EQ(joins.size(), 3u);
  EXPECT_EQ(joins[0].session(), joins[2].session());
}

TEST_F(SessionTest, GivesUpOnAServerThatAnswersNoHeartbeat) {
  server_.heartbeat = kUnavailable;
  server_.trains = {StayOpen};
  server_.Start();
  const auto session = Connect(absl::Milliseconds(400));
  ASSERT_TRUE(session.ok()) << session.status();
  const auto turn = (*session)->NextTurn();
  EXPECT_EQ(turn.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(turn.status().message(), HasSubstr("heartbeat"));
}

TEST_F(SessionTest, HeartbeatsKeepAQuietSessionAlive) {
  server_.trains = {[&](TrainStreamPair* stream) {
    EXPECT_TRUE(server_.WaitForHeartbeats(6));  // 0.6 s: twice what the worker waits in silence
    SendParts(record0_, stream);
    return StayOpen(stream);
  }};
  server_.Start();
  const auto session = Connect(absl::Milliseconds(300));
  ASSERT_TRUE(session.ok()) << session.status();
  const auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ((*session)->reconnects(), 0u);
}

class BigSessionTest : public SessionTest {
 protected:
  BigSessionTest() : SessionTest({.dimension = 16 * kBlockSize}) {}
};

TEST_F(BigSessionTest, APushToAServerThatDoesNotReadIsBounded) {
  const grpc::Status seen = {grpc::StatusCode::DATA_LOSS, "seen"};
  server_.trains = {[&](TrainStreamPair* stream) {
                      SendParts(record0_, stream);
                      // Reads nothing, and 16 MiB do not fit the stream's window.
                      EXPECT_TRUE(server_.WaitForTrainCalls(2));
                      return StayOpen(stream);
                    },
                    [&](TrainStreamPair* stream) {
                      v1::TrainRequest payload;
                      EXPECT_TRUE(ReadUntil(v1::TrainRequest::kGradient, stream, &payload));
                      return seen;
                    }};
  server_.Start();
  auto session = Connect(absl::Seconds(3));
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE((*session)->NextTurn().ok());
  ASSERT_TRUE(PushGradient(session->get(), 2.0f).ok());  // returns: the stream was given up
  EXPECT_EQ((*session)->NextTurn().status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*session)->reconnects(), 1u);
}

TEST_F(SessionTest, TimeSpentOnAGradientIsNotTheServersSilence) {
  v1::TrainRequest payload;
  server_.heartbeat = kUnavailable;
  server_.trains = {[&](TrainStreamPair* stream) {
                      SendParts(record0_, stream);
                      return kUnavailable;
                    },
                    [&](TrainStreamPair* stream) {
                      ReadUntil(v1::TrainRequest::kGradient, stream, &payload);
                      SendParts(LastRecord(1.0f), stream);
                      return StayOpen(stream);
                    }};
  server_.Start();
  auto session = Connect(absl::Milliseconds(400));
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE((*session)->NextTurn().ok());
  ASSERT_TRUE(server_.WaitForHeartbeats(6));  // 0.6 s of computing
  ASSERT_TRUE(PushGradient(session->get(), 2.0f).ok());
  const auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->kind, Turn::Kind::kFinished);
}

}  // namespace
}  // namespace gradwire
