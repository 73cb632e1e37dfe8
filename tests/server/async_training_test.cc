// SPDX-License-Identifier: Apache-2.0
// An ASYNC job: every payload is one update with the weight that its staleness gives it, whatever
// the order in which workers come, and nothing of what they compute is lost or counted twice.
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "common/codec/block_values.h"
#include "server/async_rounds.h"
#include "tests/common/replica/crashing_file_system.h"
#include "tests/server/real_cluster.h"

namespace gradwire {
namespace {

constexpr size_t kWorkers = 4;
constexpr size_t kDimension = 200;
constexpr uint64_t kLead = 2;

std::string AsyncJob(const char* rest) {
  return absl::StrCat("model { tensors { tensor { name: 'w' shape: ", kDimension,
                      " } } } steps: 100000 optimizer: 'sgd:lr=0.1' consistency: ASYNC ",
                      "async { max_lead: ", kLead, " } membership { workers: 4 lease_seconds: 5 } ",
                      rest);
}

std::vector<float> Gradient(size_t worker, uint64_t step) {
  return NormalGradient(kDimension, worker, step);
}

const v1::Member& MemberOf(const v1::Header& header, const RealWorker& worker) {
  for (const v1::Member& member : header.members()) {
    if (member.id() == worker.at.id) return member;
  }
  ADD_FAILURE() << worker.at.id << " is no member";
  return header.members(0);
}

uint64_t LeadOf(const v1::Header& header, const RealWorker& worker) {
  uint64_t lowest = UINT64_MAX;
  for (const v1::Member& member : header.members()) lowest = std::min(lowest, member.clock());
  return MemberOf(header, worker).clock() - lowest;
}

// Workers of an ASYNC job that come in any order, each checked by plain arithmetic.
class Schedule {
 public:
  Schedule(RealCluster* cluster, uint64_t seed)
      : cluster_(*cluster),
        random_(seed),
        parameters_(cluster->replica().parameters().begin(), cluster->replica().parameters().end()),
        computed_(kWorkers, std::vector<double>(kDimension)),
        used_(computed_) {}

  void Turn() {
    const size_t w = random_() % kWorkers;
    RealWorker& worker = cluster_.workers[w];
    if (worker.uplink->held_step() == 0) return Begin(w);
    const uint64_t before = cluster_.cluster.version();
    const std::vector<v1::TrainRequest> sent = Held(&worker);
    for (uint64_t times = 1 + random_() % 3; times > 0; --times) cluster_.Resend(w);
    ASSERT_EQ(cluster_.cluster.version(), before + 1);
    Check(w, sent, RecordHeader(*cluster_.cluster.newest()));
    cluster_.Follow(w);
    EXPECT_EQ(worker.uplink->held_step(), 0u);
  }

  // All that was computed is in the model or in a residual, or still on its way.
  void CheckConserved() {
    for (size_t w = 0; w < kWorkers; ++w) {
      RealWorker& worker = cluster_.workers[w];
      std::vector<double> sum = used_[w];
      if (worker.uplink->held_step() != 0) AddPayload(Held(&worker), 1, &sum);
      const absl::Span<const float> residual = worker.uplink->residual();
      for (size_t i = 0; i < kDimension; ++i) {
        const double rest = residual.empty() ? 0.0 : double{residual[i]};
        ASSERT_NEAR(sum[i] + rest, computed_[w][i], 1e-4) << "worker " << w << ", " << i;
      }
    }
  }

  void CheckParameters() {
    cluster_.Follow();
    for (size_t i = 0; i < kDimension; ++i) {
      ASSERT_NEAR(cluster_.replica().parameters()[i], parameters_[i], 1e-4) << i;
    }
  }

  uint64_t most_stale() const { return most_stale_; }
  uint64_t most_lead() const { return most_lead_; }

 private:
  std::vector<v1::TrainRequest> Held(RealWorker* worker) const {
    const auto messages =
        worker->uplink->Messages({worker->at.lease.rank(), worker->at.lease.incarnation()});
    return {messages.begin(), messages.end()};
  }

  void Begin(size_t w) {
    cluster_.Follow(w);
    RealWorker& worker = cluster_.workers[w];
    const uint64_t lead = LeadOf(worker.replica->header(), worker);
    if (lead > kLead) return;
    most_lead_ = std::max(most_lead_, lead);
    const std::vector<float> gradient = Gradient(w, worker.replica->version() + 1);
    for (size_t i = 0; i < kDimension; ++i) computed_[w][i] += 0.1 * double{gradient[i]};
    cluster_.Encode(w, Gradient);
  }

  void AddPayload(const std::vector<v1::TrainRequest>& messages, double weight,
                  std::vector<double>* sum) const {
    const Job& job = cluster_.job();
    for (const v1::TrainRequest& message : messages) {
      for (const v1::BlockPayload& block : message.gradient().blocks()) {
        BlockValues values;
        const BlockKey key = job.Key(message.gradient().step(), block.block());
        const auto decoded =
            DecodePayload(*job.plans[block.block()].codec, key, block.payload(), &values);
        ASSERT_TRUE(decoded.ok()) << decoded;
        MakeDense(kDimension, &values);
        for (size_t i = 0; i < kDimension; ++i) (*sum)[i] += weight * double{values.values[i]};
      }
    }
  }

  void Check(size_t w, const std::vector<v1::TrainRequest>& sent, const v1::Header& header) {
    const v1::AsyncAnswer& answer = header.answer();
    const uint64_t step = sent.front().gradient().step();
    EXPECT_EQ(answer.rank(), cluster_.workers[w].at.lease.rank());
    EXPECT_EQ(answer.step(), step);
    ASSERT_EQ(header.used_size(), 1);
    const uint64_t stale = cluster_.cluster.version() - step;
    most_stale_ = std::max(most_stale_, stale);
    const double weight =
        std::min(1.0, double{kWorkers} / (1.0 + static_cast<double>(stale))) / double{kWorkers};
    EXPECT_FLOAT_EQ(answer.weight(), static_cast<float>(weight));
    std::vector<double> update(kDimension);
    AddPayload(sent, weight, &update);
    AddPayload(sent, 1, &used_[w]);
    for (size_t i = 0; i < kDimension; ++i) parameters_[i] -= update[i];
  }

  RealCluster& cluster_;
  std::mt19937_64 random_;
  std::vector<double> parameters_;
  std::vector<std::vector<double>> computed_;
  std::vector<std::vector<double>> used_;
  uint64_t most_stale_ = 0;
  uint64_t most_lead_ = 0;
};

TEST(AsyncTrainingTest, EveryUpdateIsOnePayloadWithItsWeightAndNothingIsLost) {
  for (const char* codec : {"identity", "random_k:0.1", "top_k:0.1", "random_k:0.3,values=bf16"}) {
    SCOPED_TRACE(codec);
    RealCluster cluster(AsyncJob(absl::StrCat("codec: '", codec, "'").c_str()), kWorkers);
    Schedule schedule(&cluster, 7);
    for (int turn = 0; turn < 1200 && !testing::Test::HasFatalFailure(); ++turn) schedule.Turn();
    schedule.CheckConserved();
    schedule.CheckParameters();
    EXPECT_GT(cluster.cluster.version(), 400u);
    EXPECT_EQ(schedule.most_lead(), kLead);  // so the bound is felt
    EXPECT_LE(schedule.most_stale(), MaxStaleness(kLead, kWorkers));
    const v1::GetStatusResponse status = cluster.cluster.Status();
    EXPECT_EQ(static_cast<uint64_t>(status.staleness_size()), schedule.most_stale() + 1);
    EXPECT_LE(status.lead_size(), static_cast<int>(kLead) + 1);
    uint64_t answers = 0;
    for (const uint64_t count : status.staleness()) answers += count;
    EXPECT_EQ(answers, cluster.cluster.version());
  }
}

// Three go on as far as they may, the fourth computes.
void LeaveTheFourthBehind(RealCluster* cluster) {
  for (uint64_t round = 0; round <= kLead; ++round) {
    for (size_t w = 0; w < 3; ++w) {
      cluster->Follow(w);
      cluster->Push(w, Gradient);
    }
  }
}

TEST(AsyncTrainingTest, NobodyIsServedBeyondTheLead) {
  RealCluster cluster(AsyncJob("codec: 'random_k:0.1'"), 4);
  LeaveTheFourthBehind(&cluster);
  EXPECT_EQ(cluster.cluster.version(), 3 * (kLead + 1));
  cluster.Follow(0);
  EXPECT_EQ(LeadOf(cluster.header(), cluster.workers[0]), kLead + 1);
  cluster.Encode(0, Gradient);
  const auto messages = cluster.workers[0].uplink->Messages({0, 1});
  const absl::Status refused = cluster.cluster.Send(cluster.workers[0].at, messages[0].gradient());
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.message().find("async.max_lead"), absl::string_view::npos) << refused;
  EXPECT_EQ(cluster.cluster.version(), 3 * (kLead + 1));
}

TEST(AsyncTrainingTest, WhoIsLostHoldsBackNobodyAndTakesItsPayloadBack) {
  RealCluster cluster(AsyncJob("codec: 'top_k:0.1'"), 4);
  LeaveTheFourthBehind(&cluster);
  RealWorker& lost = cluster.workers[3];
  cluster.Encode(3, Gradient);
  const std::vector<float> gradient = Gradient(3, 1);
  const uint64_t version = cluster.cluster.version();
  for (int i = 0; i < 60; ++i) {
    cluster.cluster.clock.Advance(absl::Milliseconds(100));
    for (size_t w = 0; w < 3; ++w) cluster.cluster.Heartbeat(cluster.workers[w].at);
    cluster.cluster.coordinator->Tick();
  }
  // An update without a payload names who is left: the others, at the bound, may go on.
  ASSERT_EQ(cluster.cluster.version(), version + 1);
  cluster.Follow(0);
  EXPECT_EQ(cluster.header().members_size(), 3);
  EXPECT_FALSE(cluster.header().has_answer());
  EXPECT_EQ(LeadOf(cluster.header(), cluster.workers[0]), 0u);
  cluster.Push(0, Gradient);
  EXPECT_EQ(cluster.cluster.version(), version + 2);

  // It comes back as another incarnation, beside the slowest; what it held goes into its residual.
  lost.at = cluster.cluster.Enter("w3", 99);
  cluster.Follow(1);
  cluster.Push(1, Gradient);
  cluster.Follow(3);
  EXPECT_EQ(LeadOf(lost.replica->header(), lost), 0u);
  EXPECT_NE(lost.uplink->held_step(), 0u);  // no update has answered it, and none will
  EXPECT_FALSE(lost.uplink->SentAs({lost.at.lease.rank(), lost.at.lease.incarnation()}));
  ASSERT_TRUE(lost.uplink->Withdraw().ok());
  for (size_t i = 0; i < kDimension; ++i) {
    EXPECT_NEAR(lost.uplink->residual()[i], 0.1f * gradient[i], 1e-6) << i;
  }
  cluster.Push(3, Gradient);
  cluster.Follow();
  EXPECT_EQ(cluster.header().answer().rank(), lost.at.lease.rank());
}

TEST(AsyncTrainingTest, OneThatAbstainsIsAnsweredAndAllThatAbstainEndTheJob) {
  RealCluster cluster(AsyncJob("codec: 'random_k:0.1'"), 4);
  const auto nothing = [](size_t, uint64_t) { return std::vector<float>(kDimension, NAN); };
  const std::vector<float> before(cluster.replica().parameters().begin(),
                                  cluster.replica().parameters().end());
  cluster.Push(2, nothing);
  cluster.Follow();
  EXPECT_EQ(cluster.replica().version(), 1u);
  EXPECT_EQ(cluster.header().used_size(), 0);
  EXPECT_EQ(cluster.header().answer().rank(), 2u);
  EXPECT_EQ(MemberOf(cluster.header(), cluster.workers[2]).clock(), 1u);
  EXPECT_EQ(cluster.workers[2].uplink->held_step(), 0u);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), cluster.replica().parameters().begin()));
  for (const size_t w : {0, 1}) {
    cluster.Push(w, nothing);
    cluster.Follow();
    EXPECT_EQ(cluster.cluster.Phase(), "training");
  }
  cluster.Push(3, nothing);
  EXPECT_EQ(cluster.cluster.Phase(), "failed");
}

// Its version may have left the log: who sends it again only has not read the answer.
TEST(AsyncTrainingTest, WhatWasAnsweredIsIgnoredAlsoWhenItsVersionIsGone) {
  RealCluster cluster(AsyncJob("codec: 'top_k:0.1' snapshot_every: 3"), 4);
  const auto turn = [&](size_t w) {
    cluster.Follow(w);
    cluster.Push(w, Gradient);
  };
  turn(0);
  turn(1);
  cluster.Follow(3);
  cluster.Encode(3, Gradient);  // at version 2
  turn(2);                      // version 3, of which there is a snapshot
  WaitForSnapshot(cluster.cluster.coordinator->snapshots(), 3);
  cluster.Resend(3);
  turn(0);
  turn(1);
  WaitForSnapshot(cluster.cluster.coordinator->snapshots(), 6);
  turn(2);
  cluster.cluster.coordinator->Tick();
  ASSERT_EQ(cluster.cluster.coordinator->log().range().oldest, 3u);
  cluster.Resend(3);
  EXPECT_EQ(cluster.workers[3].at.stream->resyncs(), 0u);
  cluster.Follow();
  EXPECT_EQ(cluster.replica().version(), 7u);
}

TEST(AsyncTrainingTest, AServerThatComesBackAnswersEveryPayloadOnce) {
  CrashingFileSystem disk;
  CoordinatorOptions options;
  options.history.files = &disk;
  options.history.state_dir = "/state";
  RealCluster cluster(AsyncJob("codec: 'top_k:0.1' snapshot_every: 7"), kWorkers, options);
  Schedule schedule(&cluster, 11);
  for (int life = 0; life < 12; ++life) {
    for (int turn = 0; turn < 37 && !testing::Test::HasFatalFailure(); ++turn) schedule.Turn();
    const std::string living = cluster.cluster.coordinator->EncodeState();
    cluster.cluster.coordinator.reset();
    auto again = Coordinator::Create(options, cluster.cluster.job, &cluster.cluster.clock,
                                     &cluster.cluster.counters);
    ASSERT_TRUE(again.ok()) << again.status();
    cluster.cluster.coordinator = *std::move(again);
    EXPECT_EQ(cluster.cluster.coordinator->EncodeState(), living);
    for (RealWorker& worker : cluster.workers) {
      v1::Hello hello = worker.at.who();
      hello.mutable_at()->set_version(worker.replica->version());
      hello.mutable_at()->set_chain_hash(std::string(AsView(worker.replica->chain_hash())));
      worker.at.stream = std::make_shared<FakeStream>();
      const auto next = cluster.cluster.coordinator->Hello(hello, worker.at.stream);
      ASSERT_TRUE(next.ok()) << next.status();
    }
  }
  schedule.CheckConserved();
  schedule.CheckParameters();
  EXPECT_LE(schedule.most_stale(), MaxStaleness(kLead, kWorkers));
}

}  // namespace
}  // namespace gradwire
