// SPDX-License-Identifier: Apache-2.0
// With `lag: 1`, a session gives out a step while the update before it is still on its way, and
// keeps to that when it comes back.
#include "common/replica/snapshot.h"
#include "tests/worker/client/saved_state_fixture.h"

namespace gradwire {
namespace {

using testing::Each;
using testing::ElementsAre;

// Its only member is the session; an update is sent when the test lets it.
class SessionLagTest : public SessionTest {
 protected:
  explicit SessionLagTest(uint64_t dimension = 8)
      : SessionTest({.dimension = dimension, .hash_every = 2, .lag = 1}) {
    server_.trains = {[this](TrainStreamPair* stream) { return Serve(stream); }};
  }

  grpc::Status Serve(TrainStreamPair* stream) {
    SendParts(record0_, stream);
    v1::TrainRequest request;
    WaitFor(&may_read_, 1);
    while (ReadUntil(v1::TrainRequest::kGradient, stream, &request)) {
      for (const v1::BlockPayload& block : request.gradient().blocks()) {
        payload_.push_back(block.payload());
      }
      if (!request.gradient().has_end()) continue;
      const uint64_t step = request.gradient().step();
      EXPECT_EQ(request.gradient().base_chain_hash(), AsView(maker_.chain_hash()));
      EXPECT_EQ(request.gradient().end().has_replica_hash(), step % 2 == 1);
      WaitFor(&allowed_, step);
      SendParts(maker_.Next(step == last_ ? LastHeader() : HeaderFor(1, {1}), payload_), stream);
      payload_.clear();
      Raise(&sent_, step);
    }
    return grpc::Status::OK;
  }
  void Raise(uint64_t* counter, uint64_t to) {
    MutexLock lock(&mu_);
    *counter = to;
    changed_.NotifyAll();
  }
  void WaitFor(const uint64_t* counter, uint64_t at_least) {
    MutexLock lock(&mu_);
    const absl::Duration end = SteadyClock().Now() + absl::Seconds(10);
    while (*counter < at_least && SteadyClock().Now() < end) {
      changed_.WaitFor(&mu_, absl::Seconds(1));
    }
    EXPECT_GE(*counter, at_least);
  }

  Mutex mu_;
  CondVar changed_;
  uint64_t may_read_ = 1;
  uint64_t allowed_ = 0;  // steps whose update may be sent
  uint64_t sent_ = 0;
  uint64_t last_ = 5;
  std::vector<std::string> payload_;  // of the server's thread
};

// With g(x) = x + 2 and a rate of 1/2 by hand: x' = x - (y + 2) / 2, y being x one version before.
TEST_F(SessionLagTest, EachStepIsComputedOneVersionBackWhileItsUpdateTravels) {
  const float by_hand[] = {0, -1, -2, -2.5, -2.5, -2.25};
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  for (uint64_t step = 1; step <= 5; ++step) {
    SCOPED_TRACE(step);
    const auto turn = (*session)->NextTurn();  // the update step-1 is held back
    ASSERT_TRUE(turn.ok()) << turn.status();
    EXPECT_EQ(turn->step, step);
    EXPECT_EQ(turn->batch, step);
    EXPECT_EQ(turn->version, step < 2 ? 0 : step - 2);
    EXPECT_EQ(turn->evaluate, step > 1);  // each version once
    const float x = by_hand[turn->version];
    Raise(&allowed_, step - 1);
    WaitFor(&sent_, step - 1);
    EXPECT_THAT((*session)->parameters(), Each(x));  // though the next update is there
    ASSERT_TRUE(PushGradient(session->get(), x + 2).ok());
    EXPECT_TRUE((*session)->pushed());
    EXPECT_EQ((*session)->version(), step - 1);
    EXPECT_THAT((*session)->parameters(), Each(by_hand[step - 1]));
  }
  // Nobody asks for step 6 any more.
  auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->step, 6u);
  Raise(&allowed_, 5);
  ASSERT_TRUE(PushGradient(session->get(), 1).ok());
  EXPECT_FALSE((*session)->pushed());
  turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->kind, Turn::Kind::kFinished);
  EXPECT_THAT((*session)->parameters(), Each(by_hand[5]));
  EXPECT_TRUE((*session)->Leave("finished", std::nullopt).ok());
}

class BigSessionLagTest : public SessionLagTest {
 protected:
  BigSessionLagTest() : SessionLagTest(uint64_t{16} << 20) {}
};

TEST_F(BigSessionLagTest, APayloadThatNobodyReadsYetDoesNotHoldUpTheNextTurn) {
  may_read_ = 0;
  allowed_ = 2;
  last_ = 2;
  server_.Start();
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  ASSERT_TRUE(PushGradient(session->get(), 2).ok());
  turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->step, 2u);
  Raise(&may_read_, 1);
  ASSERT_TRUE(PushGradient(session->get(), 4).ok());
  EXPECT_TRUE((*session)->pushed());
  EXPECT_EQ((*session)->parameters()[7], -1.0f);
  while (turn.ok() && turn->kind == Turn::Kind::kCompute) {
    turn = (*session)->NextTurn();
    if (turn.ok() && turn->kind == Turn::Kind::kCompute) {
      ASSERT_TRUE(PushGradient(session->get(), 0).ok());
    }
  }
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ((*session)->parameters()[7], -3.0f);
}

class SavedStateLagTest : public SavedStateTest {
 protected:
  // Computes what comes until the job has ended.
  static void FinishAll(Session* session, absl::StatusOr<Turn> turn) {
    while (turn.ok() && turn->kind == Turn::Kind::kCompute) {
      ASSERT_EQ(Push(session, *turn), absl::OkStatus());
      turn = session->NextTurn();
    }
    ASSERT_TRUE(turn.ok()) << turn.status();
  }
};

TEST_F(SavedStateLagTest, ComputesFromOneVersionBeforeTheStateAndSendsThePayloadThatWasLost) {
  for (const char* codec : {"top_k:0.1", "random_k:0.1", "dgc:0.1"}) {
    for (const uint64_t from : {uint64_t{0}, uint64_t{1}, uint64_t{5}, kVersions}) {
      SCOPED_TRACE(testing::Message() << codec << " from " << from);
      std::filesystem::remove_all(folder_);
      Prepare({.dimension = 300, .codec = codec, .mode = v1::Membership::FIXED, .lag = 1});
      SaveState(from);
      auto session = Connect();
      ASSERT_TRUE(session.ok()) << session.status();
      absl::StatusOr<Turn> turn = Turn();
      EXPECT_EQ(Replay(session->get(), &turn), Steps(from + 1, kVersions));
      EXPECT_EQ(turn->step, kVersions + 1);
      EXPECT_EQ(turn->version, kVersions - 1);
      EXPECT_TRUE(turn->evaluate);
      FinishAll(session->get(), turn);
      EXPECT_EQ(Sent(), history_->open_payload());
      session->reset();
    }
  }
}

// Nothing but the step that is open depends on where such a worker begins.
TEST_F(SavedStateLagTest, AWorkerWithoutAResidualComputesTheOpenStepAtTheVersionBefore) {
  Prepare({.dimension = 300, .feedback = "none", .mode = v1::Membership::FIXED, .lag = 1});
  auto session = Connect(false);
  ASSERT_TRUE(session.ok()) << session.status();
  const auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->step, kVersions + 1);
  EXPECT_EQ(turn->version, kVersions - 1);
  FinishAll(session->get(), turn);
  v1::TrainRequest want;
  ASSERT_TRUE(want.ParseFromString(history_->open_payload()[0]));
  MutexLock lock(&mu_);
  ASSERT_FALSE(sent_.empty());
  EXPECT_EQ(sent_[0].gradient().step(), kVersions + 1);
  EXPECT_EQ(sent_[0].gradient().blocks(0).payload(), want.gradient().blocks(0).payload());
}

TEST_F(SavedStateLagTest, AsksForASnapshotFromBeforeTheState) {
  Prepare({.dimension = 300, .codec = "top_k:0.1", .mode = v1::Membership::FIXED, .lag = 1});
  SaveState(15);
  Follower follower(job_);
  for (uint64_t v = 0; v <= 14; ++v) ASSERT_TRUE(follower.Take(history_->record(v)[0]).ok());
  v1::GetModelResponse chunk;
  *chunk.mutable_point() = history_->PointAt(14);
  chunk.set_chunk(EncodeSnapshot(follower.replica(), true));
  chunk.set_total_bytes(chunk.chunk().size());
  server_->models = {chunk};
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  absl::StatusOr<Turn> turn = Turn();
  EXPECT_EQ(Replay(session->get(), &turn), Steps(16, kVersions));
  EXPECT_THAT(server_->models_asked(), ElementsAre(14));
  FinishAll(session->get(), turn);
  EXPECT_EQ(Sent(), history_->open_payload());
}

}  // namespace
}  // namespace gradwire
