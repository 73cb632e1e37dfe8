// SPDX-License-Identifier: Apache-2.0
// A worker that comes back with a saved state has the residual of one that never died; without
// one, an empty residual.
#include "common/replica/snapshot.h"
#include "tests/common/replica/crashing_file_system.h"
#include "tests/worker/client/saved_state_fixture.h"

namespace gradwire {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const TestJob kFixed = {.dimension = 300, .codec = "random_k:0.1", .mode = v1::Membership::FIXED};
const TestJob kElastic = {.dimension = 300, .codec = "random_k:0.1"};

TEST_F(SavedStateTest, FixedMembersReturnAndSendThePayloadThatWasLost) {
  for (const char* codec : {"top_k:0.1", "random_k:0.1", "dgc:0.1"}) {
    SCOPED_TRACE(codec);
    std::filesystem::remove_all(folder_);
    Prepare({.dimension = 300, .codec = codec, .mode = v1::Membership::FIXED});
    SaveState(5);
    auto session = Connect();
    ASSERT_TRUE(session.ok()) << session.status();
    absl::StatusOr<Turn> turn = Turn();
    EXPECT_EQ(Replay(session->get(), &turn), Steps(6, kVersions));
    EXPECT_EQ(turn->step, kVersions + 1);
    EXPECT_TRUE(turn->evaluate);
    EXPECT_EQ((*session)->ParametersHash(), history_->replica().ParametersHash());
    EXPECT_THAT(Sent(), IsEmpty());
    EXPECT_EQ(server_->joins()[0].saved_size(), 1);
    // Saved on the way, as the one that never died would have.
    EXPECT_TRUE(server_->WaitForSavedVersion(10));
    Finish(session->get(), *turn);
    EXPECT_EQ(Sent(), history_->open_payload());
    session->reset();
    EXPECT_THAT(SavedVersions(), ElementsAre(15, 10));
    ExpectSameMemory(Saved(15).memory, history_->StateAt(15).memory);
  }
}

// Whichever of its incarnations the update names, the payload was the same.
TEST_F(SavedStateTest, APayloadOfAnOlderIncarnationIsARecoveredWorkersOwnAndNotAnEmptyOnes) {
  struct Case {
    bool recovers;
    uint64_t used;
    bool own;
  };
  for (const Case& c :
       {Case{true, 1, true}, Case{true, 2, true}, Case{false, 1, false}, Case{false, 2, true}}) {
    SCOPED_TRACE(testing::Message() << "recovers " << c.recovers << ", used " << c.used);
    std::filesystem::remove_all(folder_);
    Prepare(kFixed);
    saved_on_log_ = c.recovers;
    SaveState(15);
    last_ = LastUpdate(c.used, false);
    auto session = Connect();
    ASSERT_TRUE(session.ok()) << session.status();
    absl::StatusOr<Turn> turn = Turn();
    EXPECT_EQ(Replay(session->get(), &turn).size(), c.recovers ? 3 : 0);
    std::vector<float> left = GradientAt(turn->step, (*session)->parameters());
    for (float& g : left) g *= turn->learning_rate;
    ASSERT_TRUE(Push(session->get(), *turn).ok());
    turn = (*session)->NextTurn();
    ASSERT_TRUE(turn.ok()) << turn.status();
    EXPECT_EQ(turn->step, kVersions + 2);
    ASSERT_TRUE((*session)->Leave("stop", std::nullopt).ok());
    session->reset();
    const std::vector<float> residual = Saved(kVersions + 1).memory.memory.residual;
    if (c.recovers) {
      EXPECT_EQ(Bytes(residual), Bytes(NeverDied().memory.residual));
    } else {
      EXPECT_EQ(residual == left, !c.own);  // all of it came back, or what was not sent
    }
  }
}

TEST_F(SavedStateTest, AnElasticMemberHoldsThePayloadOfItsOldPlaceAndDoesNotSendIt) {
  Prepare(kElastic);
  SaveState(10);
  last_on_caught_up_ = true;
  last_ = LastUpdate(1, false);
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  // The step that is open names incarnation 1, this is 2; its payload may have been used.
  std::vector<uint64_t> steps;
  while (steps.size() < kVersions + 1 - 10) {
    const auto turn = (*session)->NextTurn();
    ASSERT_TRUE(turn.ok()) << turn.status();
    EXPECT_TRUE(turn->replay);
    steps.push_back(turn->step);
    ASSERT_TRUE(Push(session->get(), *turn).ok());
  }
  EXPECT_EQ(steps, Steps(11, kVersions + 1));
  const auto turn = (*session)->NextTurn();
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_FALSE(turn->replay);
  EXPECT_EQ(turn->step, kVersions + 2);
  EXPECT_THAT(Sent(), IsEmpty());
  ASSERT_TRUE((*session)->Leave("stop", std::nullopt).ok());
  session->reset();
  ExpectSameMemory(Saved(kVersions + 1).memory, NeverDied());
}

TEST_F(SavedStateTest, StartsFromASnapshotBelowOrAtTheState) {
  for (const uint64_t snapshot : {uint64_t{12}, uint64_t{15}}) {
    SCOPED_TRACE(snapshot);
    std::filesystem::remove_all(folder_);
    Prepare(kFixed);
    SaveState(5);
    SaveState(15);
    Follower follower(job_);
    for (uint64_t v = 0; v <= snapshot; ++v) {
      ASSERT_TRUE(follower.Take(history_->record(v)[0]).ok());
    }
    v1::GetModelResponse chunk;
    *chunk.mutable_point() = history_->PointAt(snapshot);
    chunk.set_chunk(EncodeSnapshot(follower.replica(), true));
    chunk.set_total_bytes(chunk.chunk().size());
    server_->models = {chunk};
    auto session = Connect();
    ASSERT_TRUE(session.ok()) << session.status();
    absl::StatusOr<Turn> turn = Turn();
    EXPECT_EQ(Replay(session->get(), &turn), Steps(16, kVersions));
    EXPECT_THAT(server_->models_asked(), ElementsAre(15));
    Finish(session->get(), *turn);
    EXPECT_EQ(Sent(), history_->open_payload());
  }
}

TEST_F(SavedStateTest, WithoutAStateOnTheLogTheResidualIsEmptyAndIsSavedAtOnce) {
  for (const bool with_state_dir : {true, false}) {
    SCOPED_TRACE(with_state_dir);
    Prepare(kFixed);
    SaveState(15);
    saved_on_log_ = false;
    testing::internal::CaptureStdout();  // where the log goes that nobody set up
    auto session = Connect(with_state_dir);
    ASSERT_TRUE(session.ok()) << session.status();
    absl::StatusOr<Turn> turn = Turn();
    EXPECT_THAT(Replay(session->get(), &turn), IsEmpty());
    EXPECT_THAT(testing::internal::GetCapturedStdout(),
                AllOf(HasSubstr("residual=reset"),
                      HasSubstr(with_state_dir ? "is on the server's log" : "--state_dir")));
    session->reset();
    EXPECT_EQ(SavedVersions(),
              with_state_dir ? std::vector<uint64_t>{kVersions} : std::vector<uint64_t>{15});
    if (with_state_dir) {
      EXPECT_EQ(Saved(kVersions).incarnation, 2);
      EXPECT_THAT(Saved(kVersions).memory.memory.residual, testing::Each(0.0f));
    }
  }
}

TEST_F(SavedStateTest, AStateWhoseChainHashTheServersWayDoesNotReachIsNotTaken) {
  Prepare(kFixed);
  SaveState(15);
  History other(job_, kWorker, 15, false);
  auto store = WorkerStateStore::Open({.state_dir = folder_, .worker_id = kWorker});
  ASSERT_TRUE((*store)->Save(job_->schema_hash, other.StateAt(15)).ok());
  store->reset();
  saved_on_log_ = false;
  *server_->join.mutable_recover_at() = history_->PointAt(15);
  testing::internal::CaptureStdout();  // where the log goes that nobody set up
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  absl::StatusOr<Turn> turn = Turn();
  EXPECT_THAT(Replay(session->get(), &turn), IsEmpty());
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              AllOf(HasSubstr("residual=reset"), HasSubstr(HashText(other.chain_hash(15))),
                    HasSubstr(HashText(history_->chain_hash(15)))));
}

TEST_F(SavedStateTest, AJobWithoutAResidualNeedsNoFiles) {
  Prepare({.dimension = 300,
           .codec = "random_k:0.1",
           .feedback = "none",
           .mode = v1::Membership::FIXED});
  testing::internal::CaptureStdout();  // where the log goes that nobody set up
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  absl::StatusOr<Turn> turn = Turn();
  EXPECT_THAT(Replay(session->get(), &turn), IsEmpty());
  EXPECT_EQ(turn->step, kVersions + 1);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("residual=none"));
  EXPECT_TRUE(server_->WaitForSavedVersion(std::nullopt));
  Finish(session->get(), *turn);
  v1::TrainRequest want;
  ASSERT_TRUE(want.ParseFromString(history_->open_payload()[0]));
  {
    MutexLock lock(&mu_);
    EXPECT_EQ(sent_[0].gradient().blocks(0).payload(), want.gradient().blocks(0).payload());
  }
  session->reset();
  EXPECT_THAT(SavedVersions(), IsEmpty());
}

TEST_F(SavedStateTest, ADirectoryOfAnotherJobIsRefused) {
  Prepare(kFixed);
  auto store = WorkerStateStore::Open({.state_dir = folder_, .worker_id = kWorker});
  ASSERT_TRUE((*store)->Save(99, history_->StateAt(15)).ok());
  store->reset();
  const absl::Status status = Connect().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), AllOf(HasSubstr(folder_), HasSubstr("schema")));
}

TEST_F(SavedStateTest, AStopSavesTheStateOfTheNewestVersion) {
  Prepare(kFixed);
  SaveState(15);
  last_ = LastUpdate(2, false);
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  absl::StatusOr<Turn> turn = Turn();
  Replay(session->get(), &turn);
  ASSERT_TRUE(Push(session->get(), *turn).ok());
  stop_.Request(15);
  EXPECT_EQ((*session)->NextTurn().status().code(), absl::StatusCode::kCancelled);
  ASSERT_TRUE((*session)->Leave("asked to stop", std::nullopt).ok());  // its update still comes
  session->reset();
  EXPECT_THAT(SavedVersions(), ElementsAre(kVersions + 1, 15));
}

TEST_F(SavedStateTest, ADiskThatIsFullStopsNoTraining) {
  Prepare(kFixed);
  saved_on_log_ = false;
  last_ = LastUpdate(2, false);
  CrashingFileSystem disk;
  auto session = Connect(true, &disk);
  ASSERT_TRUE(session.ok()) << session.status();
  disk.SetSpace(100);
  testing::internal::CaptureStdout();
  absl::StatusOr<Turn> turn = Turn();
  Replay(session->get(), &turn);
  ASSERT_TRUE(Push(session->get(), *turn).ok());
  turn = (*session)->NextTurn();
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("is not saved, training goes on"));
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ(turn->step, kVersions + 2);
  disk.SetSpace(std::nullopt);
  ASSERT_TRUE((*session)->Leave("stop", std::nullopt).ok());
  session->reset();
  const auto store =
      WorkerStateStore::Open({.state_dir = folder_, .worker_id = kWorker, .files = &disk});
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_TRUE((*store)->Has(kVersions + 1));
}

// A server that lost its newest records: the worker goes back to a state that is on the log.
TEST_F(SavedStateTest, ResyncJoinsAgainAndGoesBackToASavedState) {
  Prepare(kFixed);
  SaveState(15);
  {
    auto store = WorkerStateStore::Open({.state_dir = folder_, .worker_id = kWorker});
    WorkerState lost = history_->StateAt(15);
    lost.version = 25;
    lost.chain_hash.fill('x');
    ASSERT_TRUE((*store)->Save(job_->schema_hash, lost).ok());
  }
  bool resynced = false;
  server_->trains = {[&](TrainStreamPair* stream) {
                       resynced = true;
                       v1::TrainRequest lost;
                       for (uint64_t v = 0; v <= kVersions; ++v) {
                         SendParts(history_->record(v), stream);
                       }
                       ReadUntil(v1::TrainRequest::kGradient, stream, &lost);
                       v1::TrainResponse resync;
                       resync.mutable_control()->mutable_resync()->set_reason("not on the log");
                       stream->Write(resync);
                       return StayOpen(stream);
                     },
                     [this](TrainStreamPair* stream) { return Serve(stream); }};
  auto session = Connect();
  ASSERT_TRUE(session.ok()) << session.status();
  absl::StatusOr<Turn> turn = Turn();
  EXPECT_EQ(Replay(session->get(), &turn), Steps(16, kVersions));
  ASSERT_TRUE(Push(session->get(), *turn).ok());
  EXPECT_EQ(Replay(session->get(), &turn), Steps(16, kVersions));
  EXPECT_TRUE(resynced);
  Finish(session->get(), *turn);
  EXPECT_EQ(Sent(), history_->open_payload());
  const auto joins = server_->joins();
  ASSERT_EQ(joins.size(), 2);
  EXPECT_EQ(joins[0].session(), joins[1].session());
  EXPECT_EQ(joins[0].saved(0).version(), 25);
  EXPECT_EQ(joins[1].saved(0).version(), 15);
  session->reset();
  EXPECT_THAT(SavedVersions(), ElementsAre(15));
}

}  // namespace
}  // namespace gradwire
