// SPDX-License-Identifier: Apache-2.0
// A shard after the first: it follows the headers of shard 0 that workers bring, and all shards
// together make what one server makes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

constexpr size_t kDimension = 600000;  // 3 blocks: shard 0 of 2 has one or two of them

std::string JobOf(const std::string& rest = "") {
  return absl::StrCat("model { tensors { tensor { name: 'w' shape: 600000 init: 'normal:1' } } } ",
                      "steps: 5 codec: 'random_k:0.001' snapshot_every: 2 ",
                      "membership { workers: 2 mode: FIXED lease_seconds: 10 } ", rest);
}

v1::JoinRequest Request(const FakeCluster& cluster, const std::string& id, uint32_t rank,
                        uint64_t incarnation) {
  v1::JoinRequest request;
  request.set_worker_id(id);
  request.set_session(incarnation);
  request.set_apply_revision(kApplyRevision);
  request.mutable_shard()->set_index(cluster.job->shard.index);
  request.mutable_shard()->set_count(cluster.job->shard.count);
  if (cluster.job->shard.follows()) {
    request.mutable_lead()->set_rank(rank);
    request.mutable_lead()->set_incarnation(incarnation);
  }
  return request;
}

FakeWorker EnterShard(FakeCluster* cluster, const std::string& id, uint32_t rank,
                      uint64_t incarnation = 1) {
  FakeWorker worker = {.id = id, .session = incarnation, .lease = {}, .stream = nullptr};
  worker.stream = std::make_shared<FakeStream>();
  const auto lease = cluster->coordinator->Join(Request(*cluster, id, rank, incarnation), "peer");
  EXPECT_TRUE(lease.ok()) << lease.status();
  if (!lease.ok()) return worker;
  worker.lease = *lease;
  EXPECT_TRUE(cluster->coordinator->Hello(worker.who(), worker.stream).ok());
  EXPECT_TRUE(cluster->coordinator->CaughtUp(worker.who()).ok());
  return worker;
}

std::vector<FakeWorker> EnterBoth(FakeCluster* cluster) {
  return {EnterShard(cluster, "w0", 0), EnterShard(cluster, "w1", 1)};
}

v1::Header Lead(float rate, uint64_t incarnation_of_w1 = 1) {
  v1::Header header;
  for (uint32_t rank = 0; rank < 2; ++rank) {
    v1::Member* member = header.add_members();
    member->set_id(absl::StrCat("w", rank));
    member->set_rank(rank);
    member->set_incarnation(rank == 1 ? incarnation_of_w1 : 1);
  }
  header.set_next_learning_rate(rate);
  return header;
}

std::vector<v1::Gradient> PayloadWith(const FakeCluster& cluster, const v1::Header& lead,
                                      absl::Span<const float> whole) {
  const Layout& layout = cluster.job->layout;
  const auto part = whole.subspan(layout.first_coordinate(), layout.dimension());
  auto payload = cluster.Payload({part.begin(), part.end()});
  payload[0].set_lead_header(lead.SerializeAsString());
  return payload;
}

absl::Status PushWith(FakeCluster* cluster, const FakeWorker& worker, const v1::Header& lead,
                      absl::Span<const float> whole) {
  for (const v1::Gradient& message : PayloadWith(*cluster, lead, whole)) {
    if (absl::Status status = cluster->Send(worker, message); !status.ok()) return status;
  }
  return absl::OkStatus();
}

std::vector<float> Gradient(float start) {
  std::vector<float> gradient(kDimension);
  for (size_t i = 0; i < kDimension; ++i) gradient[i] = start + 1e-4f * static_cast<float>(i);
  return gradient;
}

CoordinatorOptions In(const std::string& folder) {
  CoordinatorOptions options;
  options.history.state_dir = folder;
  return options;
}

TEST(CoordinatorShardTest, AllShardsTogetherMakeWhatOneServerMakes) {
  for (const char* rest :
       {"perturbation: 'gaussian:std=0.01'", "optimizer: 'adam:lr=0.01'", "downlink: 'compressed'",
        "optimizer: 'sgld:lr=0.01'", "schedule: 'cosine:steps=5'"}) {
    SCOPED_TRACE(rest);
    const std::string folder = TestFolder();
    FakeCluster whole(JobOf(rest), In(folder + "/whole"));
    FakeCluster first(JobOf(rest), In(folder + "/0"), {0, 2});
    FakeCluster second(JobOf(rest), In(folder + "/1"), {1, 2});
    const auto all = whole.EnterAll(2);
    const auto at_first = EnterBoth(&first);
    const auto at_second = EnterBoth(&second);
    for (int step = 1; step <= 4; ++step) {
      const v1::Header lead = RecordHeader(*first.newest());
      for (size_t i = 0; i < 2; ++i) {
        const auto gradient = Gradient(static_cast<float>(step) - 2.5f * static_cast<float>(i));
        ASSERT_TRUE(whole.Push(all[i], gradient).ok());
        ASSERT_TRUE(PushWith(&first, at_first[i], lead, gradient).ok());
        ASSERT_TRUE(PushWith(&second, at_second[i], lead, gradient).ok());
      }
    }
    ASSERT_EQ(whole.version(), 4u);
    const std::vector<float> want = whole.Parameters();
    std::vector<float> got = first.Parameters();
    const std::vector<float> rest_of_it = second.Parameters();
    got.insert(got.end(), rest_of_it.begin(), rest_of_it.end());
    EXPECT_TRUE(got == want);
  }
}

TEST(CoordinatorShardTest, RecordZeroIsThereFromTheStartAndNamesNobody) {
  FakeCluster cluster(JobOf(), {}, {1, 2});
  EXPECT_EQ(cluster.version(), 0u);
  ASSERT_NE(cluster.newest(), nullptr);
  EXPECT_EQ(RecordHeader(*cluster.newest()).members_size(), 0);
  EXPECT_EQ(cluster.Phase(), "training");
}

TEST(CoordinatorShardTest, AWorkerThatTakesItForAnotherShardIsRefusedWithBoth) {
  FakeCluster cluster(JobOf(), {}, {1, 2});
  v1::JoinRequest request = Request(cluster, "w0", 0, 1);
  request.mutable_shard()->set_index(0);
  const auto wrong = cluster.coordinator->Join(request, "peer");
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      std::string(wrong.status().message()),
      HasSubstr("this server is shard 1/2 of its job, worker \"w0\" takes it for shard 0/2: "
                "--server names 2 addresses"));
  request.clear_shard();
  EXPECT_THAT(std::string(cluster.coordinator->Join(request, "peer").status().message()),
              HasSubstr("takes it for shard 0/1"));
  request = Request(cluster, "w0", 0, 1);
  request.clear_lead();
  EXPECT_EQ(cluster.coordinator->Join(request, "peer").status().code(),
            absl::StatusCode::kInvalidArgument);
  FakeCluster alone(JobOf(), In(TestFolder() + "/alone"));
  EXPECT_EQ(alone.coordinator->Join(Request(cluster, "w0", 0, 1), "peer").status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(CoordinatorShardTest, TheCarriedHeaderSaysWhoIsWaitedForAndTheLearningRate) {
  FakeCluster cluster(JobOf(), {}, {1, 2});
  const auto w = EnterBoth(&cluster);
  EXPECT_EQ(w[1].lease.rank(), 1u);
  EXPECT_EQ(w[1].lease.shard().index(), 1u);
  v1::Header lead = Lead(0.25f);
  lead.mutable_settings()->set_steps(77);
  ASSERT_TRUE(PushWith(&cluster, w[0], lead, Gradient(1)).ok());
  EXPECT_EQ(cluster.version(), 0u);
  ASSERT_TRUE(PushWith(&cluster, w[1], lead, Gradient(2)).ok());
  ASSERT_EQ(cluster.version(), 1u);
  const v1::Header header = RecordHeader(*cluster.newest());
  EXPECT_EQ(header.learning_rate(), 0.25f);
  EXPECT_EQ(header.used_size(), 2);
  EXPECT_EQ(header.settings().steps(), 77u);
  // What comes next is not its to say.
  EXPECT_EQ(header.members_size(), 0);
  EXPECT_EQ(header.next_learning_rate(), 0.0f);
  EXPECT_FALSE(header.finished());
  EXPECT_EQ(cluster.Status().job().steps(), 77u);
}

TEST(CoordinatorShardTest, TwoDifferentHeadersForOneStepAreRefused) {
  FakeCluster cluster(JobOf(), {}, {1, 2});
  const auto w = EnterBoth(&cluster);
  auto bare = cluster.Payload(std::vector<float>(cluster.job->layout.dimension(), 1.0f));
  EXPECT_THAT(std::string(cluster.Send(w[0], bare[0]).message()), HasSubstr("lacks lead_header"));
  EXPECT_THAT(std::string(PushWith(&cluster, w[0], Lead(0.1f), Gradient(1)).message()), "");
  const absl::Status other = PushWith(&cluster, w[1], Lead(0.2f), Gradient(1));
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.message()), HasSubstr("for step 1 has hash"));
  EXPECT_EQ(cluster.version(), 0u);
  ASSERT_TRUE(PushWith(&cluster, w[1], Lead(0.1f), Gradient(1)).ok());
  EXPECT_EQ(cluster.version(), 1u);
}

TEST(CoordinatorShardTest, AHeaderThatOpensNoStepIsRefused) {
  FakeCluster cluster(JobOf(), {}, {1, 2});
  const auto w = EnterBoth(&cluster);
  v1::Header nobody = Lead(0.1f);
  nobody.clear_members();
  v1::Header finished = Lead(0.1f);
  finished.set_finished(true);
  v1::Header unsorted = Lead(0.1f);
  unsorted.mutable_members()->SwapElements(0, 1);
  v1::Header twice = Lead(0.1f);
  twice.mutable_members(1)->set_rank(0);
  v1::Header others = Lead(0.1f);
  others.mutable_members(0)->set_id("somebody else");
  for (const v1::Header& header :
       {nobody, finished, Lead(std::nanf("")), unsorted, twice, others}) {
    EXPECT_THAT(std::string(PushWith(&cluster, w[0], header, Gradient(1)).message()),
                HasSubstr("opens no step"));
  }
  auto payload = PayloadWith(cluster, Lead(0.1f), Gradient(1));
  payload[0].set_lead_header("\xff\xff");
  EXPECT_THAT(std::string(cluster.Send(w[0], payload[0]).message()), HasSubstr("no Header"));
}

// Whoever joins with a rank that shard 0 has given to another does not speak for it.
TEST(CoordinatorShardTest, AStrangerWithAMembersRankTakesNothingFromIt) {
  FakeCluster cluster(JobOf(), {}, {1, 2});
  const auto w = EnterBoth(&cluster);
  ASSERT_TRUE(PushWith(&cluster, w[1], Lead(0.1f), Gradient(2)).ok());
  EnterShard(&cluster, "stranger", 0, 1000);
  ASSERT_TRUE(PushWith(&cluster, w[0], Lead(0.1f), Gradient(1)).ok());
  ASSERT_EQ(cluster.version(), 1u);
  EXPECT_EQ(RecordHeader(*cluster.newest()).used_size(), 2);
}

TEST(CoordinatorShardTest, AReturningWorkerSpeaksForItsRankWithTheIncarnationOfShardZero) {
  FakeCluster cluster(JobOf(), {}, {1, 2});
  auto w = EnterBoth(&cluster);
  const auto half = PayloadWith(cluster, Lead(0.1f), Gradient(2));
  ASSERT_TRUE(cluster.Send(w[1], half[0]).ok());
  cluster.BreakStream(w[1]);
  cluster.clock.Advance(absl::Seconds(3));
  cluster.Heartbeat(w[0]);
  cluster.coordinator->Tick();
  EXPECT_EQ(cluster.StatusOf("w1").state(), "lost");
  w[1] = EnterShard(&cluster, "w1", 1, 5);
  EXPECT_EQ(w[1].lease.incarnation(), 5u);
  EXPECT_EQ(cluster.coordinator->Join(Request(cluster, "w1", 1, 4), "peer").status().code(),
            absl::StatusCode::kAborted);
  ASSERT_TRUE(PushWith(&cluster, w[0], Lead(0.1f), Gradient(1)).ok());
  EXPECT_EQ(cluster.version(), 0u);
  ASSERT_TRUE(PushWith(&cluster, w[1], Lead(0.1f), Gradient(2)).ok());
  ASSERT_EQ(cluster.version(), 1u);
  EXPECT_EQ(RecordHeader(*cluster.newest()).used(1).rank(), 1u);
}

TEST(CoordinatorShardTest, ARestartBringsTheSameStateAndForgetsTheOpenStep) {
  const std::string folder = TestFolder();
  std::string state;
  {
    FakeCluster cluster(JobOf(), In(folder), {1, 2});
    const auto w = EnterBoth(&cluster);
    for (int step = 1; step <= 3; ++step) {
      for (size_t i = 0; i < 2; ++i) {
        const v1::Header lead = Lead(0.1f * static_cast<float>(step));
        ASSERT_TRUE(PushWith(&cluster, w[i], lead, Gradient(static_cast<float>(step))).ok());
      }
    }
    ASSERT_TRUE(PushWith(&cluster, w[0], Lead(0.5f), Gradient(1)).ok());
    state = cluster.coordinator->EncodeState();
  }
  FakeCluster cluster(JobOf(), In(folder), {1, 2});
  EXPECT_EQ(cluster.version(), 3u);
  EXPECT_TRUE(cluster.coordinator->EncodeState() == state);
  const auto w = EnterBoth(&cluster);
  ASSERT_TRUE(PushWith(&cluster, w[0], Lead(0.4f), Gradient(1)).ok());
  ASSERT_TRUE(PushWith(&cluster, w[1], Lead(0.4f), Gradient(1)).ok());
  EXPECT_EQ(cluster.version(), 4u);
}

TEST(CoordinatorShardTest, TheEndIsWhatShardZerosLastHeaderSaysAndIsRemembered) {
  const std::string folder = TestFolder();
  v1::LeaveRequest leave;
  leave.set_worker_id("w0");
  leave.set_incarnation(1);
  {
    FakeCluster cluster(JobOf(), In(folder), {1, 2});
    const auto w = EnterBoth(&cluster);
    ASSERT_TRUE(PushWith(&cluster, w[0], Lead(0.1f), Gradient(1)).ok());
    ASSERT_TRUE(PushWith(&cluster, w[1], Lead(0.1f), Gradient(1)).ok());
    v1::Header last;
    leave.set_lead_header(Lead(0.1f).SerializeAsString());
    *leave.mutable_at() = cluster.Status().point();
    EXPECT_EQ(cluster.coordinator->Leave(leave).status().code(),
              absl::StatusCode::kFailedPrecondition);  // it does not say so
    last.set_finished(true);
    leave.set_lead_header(last.SerializeAsString());
    leave.mutable_at()->set_version(2);
    EXPECT_EQ(cluster.coordinator->Leave(leave).status().code(),
              absl::StatusCode::kFailedPrecondition);  // not its version
    *leave.mutable_at() = cluster.Status().point();
    ASSERT_TRUE(cluster.coordinator->Leave(leave).ok());
    EXPECT_EQ(cluster.Phase(), "finishing");
    ASSERT_TRUE(cluster.Leave(w[1]).ok());
    EXPECT_EQ(cluster.Phase(), "finished");
  }
  EXPECT_TRUE(std::filesystem::exists(folder + "/final.safetensors"));
  FakeCluster again(JobOf(), In(folder), {1, 2});
  EXPECT_EQ(again.Phase(), "finishing");
  again.coordinator->Tick();
  EXPECT_EQ(again.Phase(), "finishing");  // somebody may still come for the model
  again.clock.Advance(absl::Seconds(11));
  again.coordinator->Tick();
  EXPECT_EQ(again.Phase(), "finished");
}

TEST(CoordinatorShardTest, WithoutAnyWorkerForTooLongItStops) {
  FakeCluster cluster(JobOf(), {}, {1, 2});
  cluster.clock.Advance(absl::Seconds(599));
  cluster.coordinator->Tick();
  EXPECT_EQ(cluster.Phase(), "training");
  cluster.clock.Advance(absl::Seconds(2));
  cluster.coordinator->Tick();
  EXPECT_EQ(cluster.Phase(), "failed");
  EXPECT_THAT(std::string(cluster.coordinator->WaitForEnd({}).failure.message()),
              HasSubstr("no worker is here since 600 s"));
}

TEST(CoordinatorShardTest, SettingsAreAskedOfShardZero) {
  FakeCluster cluster(JobOf(), {}, {1, 2});
  v1::Settings settings;
  settings.set_steps(9);
  absl::Status answer;
  cluster.coordinator->Set(settings, absl::Seconds(1),
                           [&](const auto& response) { answer = response.status(); });
  EXPECT_EQ(answer.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(answer.message()), HasSubstr("ask that one"));
}

TEST(CoordinatorShardTest, AStateDirectoryStaysWithItsShard) {
  const std::string folder = TestFolder();
  { FakeCluster cluster(JobOf(), In(folder), {1, 2}); }
  FakeClock clock;
  ServerCounters counters;
  for (const Shard shard : {Shard{0, 2}, Shard{1, 3}, Shard{0, 1}}) {
    const auto job = MakeJob(FakeCluster(JobOf(), In(folder + "/x")).job->config, shard);
    const absl::Status status = Coordinator::Create(In(folder), *job, &clock, &counters).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("is of shard 1/2, this server is"));
  }
}

// ELASTIC: shard 0 names who takes part; who does not come here is left out here.
TEST(CoordinatorShardTest, AMemberThatDoesNotComeIsLeftOutAfterOneLease) {
  FakeCluster cluster(
      "model { tensors { tensor { name: 'w' shape: 600000 } } } steps: 5 "
      "membership { workers: 2 lease_seconds: 10 }",
      {}, {1, 2});
  const FakeWorker w0 = EnterShard(&cluster, "w0", 0);
  ASSERT_TRUE(PushWith(&cluster, w0, Lead(0.1f), Gradient(1)).ok());
  cluster.clock.Advance(absl::Seconds(9));
  cluster.Heartbeat(w0);
  cluster.coordinator->Tick();
  EXPECT_EQ(cluster.version(), 0u);
  cluster.clock.Advance(absl::Seconds(2));
  cluster.Heartbeat(w0);
  cluster.coordinator->Tick();
  cluster.coordinator->Tick();
  ASSERT_EQ(cluster.version(), 1u);
  EXPECT_EQ(RecordHeader(*cluster.newest()).used_size(), 1);
}

}  // namespace
}  // namespace gradwire
