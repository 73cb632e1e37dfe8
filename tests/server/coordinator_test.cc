// SPDX-License-Identifier: Apache-2.0
// A job's life at the server: joining, the start, steps, the end, draining.
#include "server/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/replica/replica.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

std::string JobOf(size_t workers, const std::string& rest = "",
                  const std::string& membership = "") {
  return absl::StrCat("model { tensors { tensor { name: 'w' shape: 4 } } } ",
                      "optimizer: 'sgd:lr=0.5' membership { workers: ", workers, " ", membership,
                      " } ", rest.find("steps:") == std::string::npos ? "steps: 100 " : "", rest);
}

std::vector<float> Filled(float value) { return std::vector<float>(4, value); }

TEST(CoordinatorTest, JoinTellsTheWholeJobAndWhereTheLogStands) {
  FakeCluster cluster(JobOf(1, "name: 'demo'"));
  const auto before = cluster.Join("w0", 1);
  ASSERT_TRUE(before.ok());
  EXPECT_EQ(before->rank(), 0u);
  EXPECT_EQ(before->incarnation(), 1u);
  EXPECT_EQ(before->lease_seconds(), 10);
  EXPECT_EQ(before->job().name(), "demo");
  EXPECT_EQ(before->job().codec(), "identity");  // defaults filled in
  EXPECT_EQ(before->schema_hash(), cluster.job->schema_hash);
  EXPECT_TRUE(before->newest().chain_hash().empty());
  const FakeWorker worker = cluster.Enter("w0");
  ASSERT_TRUE(cluster.Push(worker, Filled(1)).ok());
  const auto after = cluster.Join("w1", 1);
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->newest().version(), 1u);
  EXPECT_EQ(after->newest().chain_hash(), cluster.chain_hash());
  EXPECT_FALSE(after->finished());
}

TEST(CoordinatorTest, JoinIsIdempotentByIdAndSession) {
  FakeCluster cluster(JobOf(2));
  const auto first = cluster.Join("w0", 1);
  const auto again = cluster.Join("w0", 1);
  ASSERT_TRUE(first.ok() && again.ok());
  EXPECT_EQ(first->SerializeAsString(), again->SerializeAsString());
  cluster.Enter("w0");
  const auto other = cluster.Join("w0", 2);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("peer-of-w0"));
}

TEST(CoordinatorTest, JoinRefusesWhatWouldTrainAnotherModel) {
  FakeCluster cluster(JobOf(1));
  struct Case {
    const char* name;
    std::function<void(v1::JoinRequest*)> spoil;
    absl::StatusCode code;
    const char* says;
  };
  const Case cases[] = {
      {"revision", [](auto* r) { r->set_apply_revision(99); },
       absl::StatusCode::kFailedPrecondition, "revision 99"},
      {"schema", [](auto* r) { r->set_schema_hash(5); }, absl::StatusCode::kFailedPrecondition,
       "schema xxh3:0000000000000005"},
      {"no id", [](auto* r) { r->clear_worker_id(); }, absl::StatusCode::kInvalidArgument,
       "worker_id is empty"},
      {"long id", [](auto* r) { r->set_worker_id(std::string(257, 'x')); },
       absl::StatusCode::kInvalidArgument, "worker_id has 257 bytes, at most 256"},
      {"long build", [](auto* r) { r->set_build(std::string(257, 'x')); },
       absl::StatusCode::kInvalidArgument, "build has 257 bytes"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    v1::JoinRequest request;
    request.set_worker_id("w0");
    request.set_apply_revision(kApplyRevision);
    c.spoil(&request);
    const absl::Status status = cluster.coordinator->Join(request, "peer").status();
    EXPECT_EQ(status.code(), c.code);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.says));
  }
  EXPECT_EQ(cluster.Status().workers_size(), 0);
}

TEST(CoordinatorTest, TheFirstStepWaitsForAllWorkersToCatchUp) {
  FakeCluster cluster(JobOf(3));
  cluster.Enter("w0");
  cluster.Enter("w1");
  ASSERT_TRUE(cluster.Join("w2", 1).ok());  // a lease alone does not count
  cluster.coordinator->Tick();
  EXPECT_EQ(cluster.Phase(), "waiting for workers");
  EXPECT_TRUE(cluster.coordinator->log().range().empty);
  const FakeWorker last = cluster.Enter("w2");
  EXPECT_EQ(cluster.Phase(), "training");
  const v1::Header header = RecordHeader(*cluster.coordinator->log().Find(0));
  ASSERT_EQ(header.members_size(), 3);
  EXPECT_EQ(header.members(2).id(), "w2");
  EXPECT_EQ(header.members(2).rank(), 2u);
  EXPECT_EQ(header.next_learning_rate(), 0.5f);
  EXPECT_TRUE(header.previous_chain_hash().empty());
  EXPECT_GT(last.stream->wakes(), 0);
}

TEST(CoordinatorTest, TheJobFailsWhenTheWorkersDoNotComeInTime) {
  FakeCluster cluster(JobOf(2, "", "start_timeout_seconds: 30"));
  const FakeWorker worker = cluster.Enter("w0");
  for (int i = 0; i < 10; ++i) {
    cluster.clock.Advance(absl::Seconds(3));
    cluster.Heartbeat(worker);
    cluster.coordinator->Tick();
  }
  EXPECT_EQ(cluster.Phase(), "waiting for workers");  // 30 s are not over
  cluster.clock.Advance(absl::Milliseconds(1));
  cluster.coordinator->Tick();
  const Coordinator::Result result = cluster.coordinator->WaitForEnd(absl::ZeroDuration());
  EXPECT_EQ(result.phase, Phase::kFailed);
  EXPECT_THAT(std::string(result.failure.message()), HasSubstr("1 of 2 workers"));
  EXPECT_THAT(std::string(result.failure.message()), HasSubstr("start_timeout_seconds"));
  ASSERT_TRUE(worker.stream->closed().has_value());
  EXPECT_FALSE(worker.stream->closed()->ok());
  EXPECT_FALSE(cluster.Join("w1", 1).ok());
}

// lr 0.5, plain sgd: payloads are in update units, so parameters are minus their means' sum.
TEST(CoordinatorTest, StepsFollowTheClosedForm) {
  FakeCluster cluster(JobOf(2, "steps: 3"));
  const auto workers = cluster.EnterAll(2);
  const float pushed[][2] = {{1, 3}, {0.25f, 0.5f}, {-8, 2}};
  for (const auto& step : pushed) {
    ASSERT_TRUE(cluster.Push(workers[1], Filled(step[1])).ok());
    ASSERT_TRUE(cluster.Push(workers[0], Filled(step[0])).ok());
  }
  EXPECT_EQ(cluster.version(), 3u);
  EXPECT_THAT(cluster.Parameters(), Each(-(2.0f + 0.375f - 3.0f)));
  const v1::Header header = RecordHeader(*cluster.newest());
  EXPECT_TRUE(header.finished());
  EXPECT_EQ(header.members_size(), 0);
  EXPECT_EQ(header.learning_rate(), 0.5f);
  ASSERT_EQ(header.used_size(), 2);
  EXPECT_EQ(header.used(1).rank(), 1u);
  EXPECT_EQ(cluster.counters.payloads_used.value(), 6u);
}

TEST(CoordinatorTest, AnOldStepIsLateAndOneTooFarAheadIsRefused) {
  FakeCluster cluster(JobOf(2));
  const auto workers = cluster.EnterAll(2);
  ASSERT_TRUE(cluster.Push(workers[0], Filled(1)).ok());
  const auto old = cluster.Payload(Filled(1));
  ASSERT_TRUE(cluster.Push(workers[1], Filled(1)).ok());
  EXPECT_TRUE(cluster.Send(workers[1], old[0]).ok());
  EXPECT_EQ(cluster.Status().payloads_late(), 1u);
  const auto ahead = MakePayload(*cluster.job, 3, cluster.chain_hash(), Filled(1));
  const absl::Status status = cluster.Send(workers[0], ahead[0]);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  for (const char* part : {"\"w0\"", "step 3", "open step 2"}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
  EXPECT_EQ(cluster.Status().payloads_refused(), 1u);
  EXPECT_EQ(cluster.version(), 1u);
  EXPECT_THAT(cluster.Parameters(), Each(-1.0f));
}

TEST(CoordinatorTest, ANewcomerBecomesAMemberOfTheNextHeader) {
  FakeCluster cluster(JobOf(1));
  const FakeWorker first = cluster.Enter("w0");
  const FakeWorker second = cluster.Enter("w1");
  ASSERT_TRUE(cluster.Push(second, Filled(100)).ok());  // no member yet: not used, no error
  EXPECT_EQ(cluster.version(), 0u);
  ASSERT_TRUE(cluster.Push(first, Filled(1)).ok());
  ASSERT_EQ(RecordHeader(*cluster.newest()).members_size(), 2);
  EXPECT_EQ(RecordHeader(*cluster.newest()).used_size(), 1);
  EXPECT_THAT(cluster.Parameters(), Each(-1.0f));
  ASSERT_TRUE(cluster.Push(first, Filled(1)).ok());
  EXPECT_EQ(cluster.version(), 1u);  // waits for the second now
  ASSERT_TRUE(cluster.Push(second, Filled(3)).ok());
  EXPECT_THAT(cluster.Parameters(), Each(-3.0f));
}

TEST(CoordinatorTest, HelloSaysWhereToGoOn) {
  FakeCluster cluster(JobOf(1));
  const FakeWorker worker = cluster.Enter("w0");
  ASSERT_TRUE(cluster.Push(worker, Filled(1)).ok());
  ASSERT_TRUE(cluster.Push(worker, Filled(1)).ok());
  const std::string hash_1(AsView(cluster.coordinator->log().Find(1)->chain_hash));
  struct Case {
    const char* name;
    uint64_t version;
    std::string chain_hash;
    absl::StatusCode code;
    uint64_t next;
  };
  const Case cases[] = {
      {"nothing yet", 0, "", absl::StatusCode::kOk, 0},
      {"on the log", 1, hash_1, absl::StatusCode::kOk, 2},
      {"at the end", 2, cluster.chain_hash(), absl::StatusCode::kOk, 3},
      {"another history", 2, hash_1, absl::StatusCode::kOutOfRange, 0},
      {"not yet made", 3, hash_1, absl::StatusCode::kOutOfRange, 0},
      {"short hash", 1, "x", absl::StatusCode::kOutOfRange, 0},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    v1::Hello hello = worker.who();
    hello.mutable_at()->set_version(c.version);
    hello.mutable_at()->set_chain_hash(c.chain_hash);
    const auto next = cluster.coordinator->Hello(hello, std::make_shared<FakeStream>());
    EXPECT_EQ(next.status().code(), c.code);
    if (next.ok()) {
      EXPECT_EQ(*next, c.next);
    }
  }
  EXPECT_EQ(worker.stream->closed()->code(), absl::StatusCode::kAborted);  // a newer took over
}

TEST(CoordinatorTest, AWorkerBehindTheLogStartsFromTheSnapshotWhichIsOnIt) {
  CoordinatorOptions options;
  options.history.snapshot_bytes = 1500;
  FakeCluster cluster(JobOf(1, "steps: 1000"), std::move(options));
  const FakeWorker worker = cluster.Enter("w0");
  while (cluster.coordinator->log().range().oldest < 2) {
    ASSERT_LT(cluster.version(), 900u);
    ASSERT_TRUE(cluster.Push(worker, Filled(1)).ok());
    absl::SleepFor(absl::Milliseconds(2));  // snapshots are named in the background
    cluster.coordinator->Tick();
  }
  EXPECT_EQ(cluster.Join("w1", 1)->oldest_version(), cluster.coordinator->log().range().oldest);
  v1::Hello hello;
  hello.set_worker_id("w1");
  hello.set_incarnation(1);
  hello.mutable_at()->set_version(1);
  hello.mutable_at()->set_chain_hash(std::string(16, 'x'));
  EXPECT_EQ(cluster.coordinator->Hello(hello, std::make_shared<FakeStream>()).status().code(),
            absl::StatusCode::kOutOfRange);
  hello.clear_at();
  EXPECT_EQ(cluster.coordinator->Hello(hello, std::make_shared<FakeStream>()).status().code(),
            absl::StatusCode::kOutOfRange);
  const auto snapshot = cluster.coordinator->SnapshotAt(0);
  ASSERT_TRUE(snapshot.ok());
  hello.mutable_at()->set_version(snapshot->version);
  hello.mutable_at()->set_chain_hash(std::string(AsView(snapshot->chain_hash)));
  EXPECT_EQ(*cluster.coordinator->Hello(hello, std::make_shared<FakeStream>()),
            snapshot->version + 1);
}

TEST(CoordinatorTest, WithoutASnapshotItSaysWhenThereWillBeOne) {
  FakeCluster cluster(JobOf(1, "snapshot_every: 5"));
  const FakeWorker worker = cluster.Enter("w0");
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(cluster.Push(worker, Filled(1)).ok());
  const absl::Status none = cluster.coordinator->SnapshotAt(0).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(none.message()), HasSubstr("version 5"));
  ASSERT_TRUE(cluster.Push(worker, Filled(1)).ok());
  WaitForSnapshot(cluster.coordinator->snapshots(), 5);
  EXPECT_EQ(cluster.coordinator->SnapshotAt(0)->version, 5u);
  EXPECT_EQ(cluster.coordinator->SnapshotAt(9)->version, 5u);
  EXPECT_FALSE(cluster.coordinator->SnapshotAt(4).ok());
}

TEST(CoordinatorTest, TheJobEndsWhenAllHaveLeft) {
  FakeCluster cluster(JobOf(2, "steps: 1"));
  const auto workers = cluster.EnterAll(2);
  for (const FakeWorker& worker : workers) ASSERT_TRUE(cluster.Push(worker, Filled(1)).ok());
  EXPECT_EQ(cluster.Phase(), "finishing");
  EXPECT_TRUE(cluster.Join("late", 1)->finished());
  Replica replica(cluster.job);
  ASSERT_TRUE(replica.Apply(*cluster.coordinator->log().Find(0)).ok());
  ASSERT_TRUE(replica.Apply(*cluster.coordinator->log().Find(1)).ok());
  v1::LeaveRequest leave;
  leave.set_worker_id("w0");
  leave.set_incarnation(1);
  leave.mutable_at()->set_version(1);
  leave.set_parameters_hash(replica.ParametersHash());
  leave.mutable_evaluation()->add_metrics()->set_name("accuracy");
  const auto answer = cluster.coordinator->Leave(leave);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->parameters_hash(), replica.ParametersHash());
  EXPECT_EQ(workers[0].stream->stops(), 1u);
  EXPECT_TRUE(workers[0].stream->closed()->ok());
  EXPECT_EQ(cluster.Phase(), "finishing");
  ASSERT_TRUE(cluster.Leave(workers[1]).ok());
  cluster.clock.Advance(absl::Seconds(11));  // "late" holds a lease and says nothing
  cluster.coordinator->Tick();
  const auto result = cluster.coordinator->WaitForEnd(absl::ZeroDuration());
  EXPECT_EQ(result.phase, Phase::kFinished);
  EXPECT_TRUE(result.failure.ok());
  EXPECT_EQ(result.parameters_hash, replica.ParametersHash());
  EXPECT_EQ(result.evaluation.metrics(0).name(), "accuracy");
  EXPECT_TRUE(result.departures.empty());
}

TEST(CoordinatorTest, AReachedTargetEndsTheJobWithTheUpdateThatBroughtIt) {
  const struct {
    const char* target;
    double loss;
    double accuracy;
    bool ends;
  } cases[] = {{"metric: 'accuracy' value: 0.8", 9, 0.8, true},
               {"metric: 'accuracy' value: 0.8", 0, 0.79, false},
               {"metric: 'loss' value: 0.5", 0.5, 0, true},
               {"metric: 'loss' value: 0.5", 0.6, 1, false},
               {"metric: 'recall' value: 0.5", 0, 1, false}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.target);
    FakeCluster cluster(
        JobOf(1, absl::StrCat("trainer { eval_every: 1 } target { ", c.target, " }")));
    const FakeWorker worker = cluster.Enter("w0");
    ASSERT_TRUE(cluster.Push(worker, Filled(1)).ok());
    std::vector<v1::Gradient> payload = cluster.Payload(Filled(1));
    v1::Evaluation* evaluation = payload.back().mutable_end()->mutable_evaluation();
    evaluation->set_loss(c.loss);
    v1::Metric* metric = evaluation->add_metrics();
    metric->set_name("accuracy");
    metric->set_value(c.accuracy);
    for (const v1::Gradient& message : payload) ASSERT_TRUE(cluster.Send(worker, message).ok());
    EXPECT_EQ(RecordHeader(*cluster.newest()).finished(), c.ends);
    EXPECT_EQ(cluster.Phase(), c.ends ? "finishing" : "training");
  }
}

TEST(CoordinatorTest, DrainTakesASnapshotAndEndsStreamsWithUnavailable) {
  const std::string folder = TestFolder();
  CoordinatorOptions options;
  options.history.state_dir = folder;
  FakeCluster cluster(JobOf(1), std::move(options));
  const FakeWorker worker = cluster.Enter("w0");
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(cluster.Push(worker, Filled(1)).ok());
  ASSERT_TRUE(cluster.coordinator->Drain(absl::ZeroDuration()).ok());
  EXPECT_EQ(worker.stream->closed()->code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(std::filesystem::exists(folder + "/snapshots/000000000003.safetensors"));
  EXPECT_EQ(cluster.Join("w1", 1).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(
      cluster.coordinator->Hello(worker.who(), std::make_shared<FakeStream>()).status().code(),
      absl::StatusCode::kUnavailable);
  cluster.Push(worker, Filled(1)).IgnoreError();
  EXPECT_EQ(cluster.version(), 3u);  // no update is made any more
}

}  // namespace
}  // namespace gradwire
