// SPDX-License-Identifier: Apache-2.0
// Workers that go, come back or fall silent in the middle of a step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

// Three blocks of identity would be 2.4 MB; random_k at 1e-4 has 26 + 26 + 8 values.
std::string JobOf(size_t workers, const std::string& membership = "") {
  return absl::StrCat("model { tensors { tensor { name: 'w' shape: 600000 } } } steps: 100 ",
                      "codec: 'random_k:0.0001' membership { workers: ", workers, " ", membership,
                      " }");
}

std::vector<float> Filled(float value) { return std::vector<float>(600000, value); }

std::vector<float> NewestUpdate(const FakeCluster& cluster) {
  std::vector<float> all;
  for (const std::string& payload : RecordPayloads(*cluster.newest())) {
    const std::vector<float> values = PayloadValues(payload);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

// Time goes on for those who beat, and for nobody else.
void Pass(FakeCluster* cluster, absl::Duration time, const std::vector<FakeWorker>& alive) {
  for (absl::Duration passed; passed < time; passed += absl::Seconds(1)) {
    cluster->clock.Advance(absl::Seconds(1));
    for (const FakeWorker& worker : alive) cluster->Heartbeat(worker);
    cluster->coordinator->Tick();
  }
}

TEST(DepartureTest, ALostMemberWhoseBlocksAreInTheSumsCostsAResend) {
  FakeCluster cluster(JobOf(3));
  const auto w = cluster.EnterAll(3);
  ASSERT_TRUE(cluster.Push(w[0], Filled(1)).ok());
  ASSERT_TRUE(cluster.Send(w[1], cluster.Payload(Filled(50))[0]).ok());
  ASSERT_TRUE(cluster.Push(w[2], Filled(4)).ok());
  cluster.BreakStream(w[1]);
  Pass(&cluster, absl::Seconds(3), {w[0], w[2]});
  EXPECT_EQ(cluster.version(), 0u);
  for (const size_t i : {0, 2}) {
    ASSERT_EQ(w[i].stream->resends(), 1u);
    EXPECT_EQ(w[i].stream->controls()[0].resend().step(), 1u);
    EXPECT_FALSE(w[i].stream->closed().has_value());
  }
  EXPECT_EQ(w[1].stream->resends(), 0u);
  EXPECT_EQ(cluster.StatusOf("w1").state(), "lost");
  EXPECT_THAT(cluster.StatusOf("w1").note(), HasSubstr("(at step 1)"));
  ASSERT_TRUE(cluster.Push(w[2], Filled(4)).ok());
  ASSERT_TRUE(cluster.Push(w[0], Filled(1)).ok());
  EXPECT_THAT(NewestUpdate(cluster), Each(2.5f));
  const v1::Header header = RecordHeader(*cluster.newest());
  ASSERT_EQ(header.used_size(), 2);
  EXPECT_EQ(header.used(1).rank(), 2u);
  EXPECT_EQ(header.members_size(), 2);
  const auto departures = cluster.coordinator->WaitForEnd(absl::ZeroDuration()).departures;
  ASSERT_EQ(departures.size(), 1u);
  EXPECT_EQ(departures[0].worker, "w1");
  EXPECT_EQ(departures[0].step, 1u);
  EXPECT_THAT(departures[0].reason, HasSubstr("did not come back within 2s"));
}

TEST(DepartureTest, ACompletePayloadStaysAndNothingIsSentAgain) {
  FakeCluster cluster(JobOf(3));
  const auto w = cluster.EnterAll(3);
  ASSERT_TRUE(cluster.Push(w[1], Filled(8)).ok());
  cluster.BreakStream(w[1]);
  Pass(&cluster, absl::Seconds(3), {w[0], w[2]});
  EXPECT_EQ(cluster.StatusOf("w1").state(), "lost");
  ASSERT_TRUE(cluster.Push(w[0], Filled(1)).ok());
  ASSERT_TRUE(cluster.Push(w[2], Filled(3)).ok());
  EXPECT_THAT(NewestUpdate(cluster), Each(4.0f));
  EXPECT_EQ(RecordHeader(*cluster.newest()).used_size(), 3);
  EXPECT_EQ(RecordHeader(*cluster.newest()).used(1).incarnation(), 1u);
  EXPECT_EQ(RecordHeader(*cluster.newest()).members_size(), 2);
  EXPECT_EQ(w[0].stream->resends() + w[2].stream->resends(), 0u);
}

TEST(DepartureTest, OneOfWhomNothingIsSummedIsLeftOutWithoutAResend) {
  FakeCluster cluster(JobOf(3));
  const auto w = cluster.EnterAll(3);
  ASSERT_TRUE(cluster.Send(w[2], cluster.Payload(Filled(50))[0]).ok());  // waits for rank 0
  ASSERT_TRUE(cluster.Push(w[1], Filled(6)).ok());
  Pass(&cluster, absl::Seconds(11), {w[0], w[1]});
  EXPECT_EQ(cluster.StatusOf("w2").state(), "lost");
  EXPECT_THAT(cluster.StatusOf("w2").note(), HasSubstr("silent for longer than its lease of 10s"));
  EXPECT_EQ(w[2].stream->closed()->code(), absl::StatusCode::kAborted);
  EXPECT_EQ(w[0].stream->resends() + w[1].stream->resends(), 0u);
  ASSERT_TRUE(cluster.Push(w[0], Filled(2)).ok());
  EXPECT_THAT(NewestUpdate(cluster), Each(4.0f));
}

TEST(DepartureTest, ABrokenStreamMayComeBackWithinItsGrace) {
  FakeCluster cluster(JobOf(2));
  auto w = cluster.EnterAll(2);
  ASSERT_TRUE(cluster.Send(w[0], cluster.Payload(Filled(3))[0]).ok());
  cluster.BreakStream(w[0]);
  EXPECT_EQ(cluster.StatusOf("w0").state(), "reconnecting");
  Pass(&cluster, absl::Seconds(2), {w[1]});
  w[0].stream = std::make_shared<FakeStream>();
  v1::Hello hello = w[0].who();
  hello.mutable_at()->set_chain_hash(cluster.chain_hash());
  ASSERT_EQ(*cluster.coordinator->Hello(hello, w[0].stream), 1u);
  Pass(&cluster, absl::Seconds(5), w);
  EXPECT_EQ(cluster.StatusOf("w0").state(), "member");
  for (const FakeWorker& worker : w) ASSERT_TRUE(cluster.Push(worker, Filled(3)).ok());
  EXPECT_THAT(NewestUpdate(cluster), Each(3.0f));
  EXPECT_EQ(cluster.Status().payloads_duplicate(), 1u);  // the block that had come before
}

TEST(DepartureTest, ANewIncarnationDropsTheOldOnesPartAndFencesItOut) {
  FakeCluster cluster(JobOf(2));
  const auto w = cluster.EnterAll(2);
  ASSERT_TRUE(cluster.Send(w[0], cluster.Payload(Filled(50))[0]).ok());
  cluster.BreakStream(w[0]);
  const FakeWorker again = cluster.Enter("w0", 2);
  EXPECT_EQ(again.lease.rank(), 0u);
  EXPECT_EQ(again.lease.incarnation(), 2u);
  EXPECT_EQ(w[1].stream->resends(), 1u);
  const absl::Status old = cluster.Send(w[0], cluster.Payload(Filled(50))[1]);
  EXPECT_EQ(old.code(), absl::StatusCode::kAborted);
  ASSERT_TRUE(cluster.Push(w[1], Filled(6)).ok());
  EXPECT_THAT(NewestUpdate(cluster), Each(6.0f));
  const v1::Header header = RecordHeader(*cluster.newest());
  ASSERT_EQ(header.members_size(), 2);
  EXPECT_EQ(header.members(0).incarnation(), 2u);
  ASSERT_TRUE(cluster.Push(again, Filled(1)).ok());
  ASSERT_TRUE(cluster.Push(w[1], Filled(2)).ok());
  EXPECT_EQ(RecordHeader(*cluster.newest()).used(0).incarnation(), 2u);
}

TEST(DepartureTest, ACompletePayloadOfAnOlderIncarnationIsUsedUnderItsName) {
  FakeCluster cluster(JobOf(2));
  const auto w = cluster.EnterAll(2);
  ASSERT_TRUE(cluster.Push(w[0], Filled(2)).ok());
  cluster.BreakStream(w[0]);
  const FakeWorker again = cluster.Enter("w0", 2);
  ASSERT_TRUE(cluster.Push(w[1], Filled(6)).ok());
  EXPECT_THAT(NewestUpdate(cluster), Each(4.0f));
  const v1::Header header = RecordHeader(*cluster.newest());
  EXPECT_EQ(header.used(0).incarnation(), 1u);
  EXPECT_EQ(header.members(0).incarnation(), 2u);
}

TEST(DepartureTest, BelowMinWorkersTheJobWaitsAndSaysSo) {
  FakeCluster cluster(JobOf(2, "min_workers: 2"));
  const auto w = cluster.EnterAll(2);
  ASSERT_TRUE(cluster.Leave(w[1], "enough").ok());
  EXPECT_TRUE(w[1].stream->closed()->ok());
  ASSERT_TRUE(cluster.Push(w[0], Filled(1)).ok());
  EXPECT_EQ(cluster.Phase(), "below min_workers");
  EXPECT_EQ(cluster.version(), 0u);
  Pass(&cluster, absl::Seconds(30), {w[0]});
  EXPECT_EQ(cluster.Phase(), "below min_workers");
  cluster.Enter("w2");
  EXPECT_EQ(cluster.Phase(), "training");
  EXPECT_EQ(cluster.version(), 1u);
  EXPECT_THAT(NewestUpdate(cluster), Each(1.0f));
  const v1::Header header = RecordHeader(*cluster.newest());
  ASSERT_EQ(header.members_size(), 2);
  EXPECT_EQ(header.members(1).id(), "w2");
  EXPECT_EQ(header.members(1).rank(), 1u);  // the lowest free one
}

TEST(DepartureTest, WhenAllAreLostTheJobWaitsForSomebody) {
  FakeCluster cluster(JobOf(2));
  cluster.EnterAll(2);
  Pass(&cluster, absl::Seconds(11), {});
  EXPECT_EQ(cluster.Phase(), "below min_workers");
  const FakeWorker back = cluster.Enter("w1", 2);
  EXPECT_EQ(back.lease.rank(), 1u);
  EXPECT_EQ(cluster.Phase(), "training");
  EXPECT_EQ(RecordHeader(*cluster.newest()).used_size(), 0);  // that step had no payload
  ASSERT_TRUE(cluster.Push(back, Filled(5)).ok());
  EXPECT_THAT(NewestUpdate(cluster), Each(5.0f));
}

TEST(DepartureTest, AfterALossNoStreamStaysUnread) {
  FakeCluster cluster(JobOf(3), {.history = {}, .max_waiting_bytes = 10});
  const auto w = cluster.EnterAll(3);
  ASSERT_TRUE(cluster.Send(w[2], cluster.Payload(Filled(1))[0]).ok());
  EXPECT_FALSE(cluster.coordinator->MayRead(w[2].who()));
  EXPECT_TRUE(cluster.coordinator->MayRead(w[0].who()));
  EXPECT_TRUE(cluster.coordinator->MayRead(w[1].who()));  // one block beyond the limit
  ASSERT_TRUE(cluster.Send(w[1], cluster.Payload(Filled(1))[0]).ok());
  EXPECT_FALSE(cluster.coordinator->MayRead(w[1].who()));
  const int wakes = w[1].stream->wakes();
  Pass(&cluster, absl::Seconds(11), {w[1], w[2]});  // rank 0 is lost: what waited is summed
  EXPECT_TRUE(cluster.coordinator->MayRead(w[1].who()));
  EXPECT_TRUE(cluster.coordinator->MayRead(w[2].who()));
  EXPECT_GT(w[1].stream->wakes(), wakes);
}

TEST(DepartureTest, AWorkerWhoseOwnBlocksNoLongerWaitIsReadThoughOthersFillTheLimit) {
  FakeCluster cluster(JobOf(3), {.history = {}, .max_waiting_bytes = 10});
  const auto w = cluster.EnterAll(3);
  const auto payload = cluster.Payload(Filled(1));
  ASSERT_TRUE(cluster.Send(w[2], payload[1]).ok());
  ASSERT_TRUE(cluster.Send(w[1], payload[0]).ok());
  EXPECT_FALSE(cluster.coordinator->MayRead(w[1].who()));
  const int wakes = w[1].stream->wakes();
  ASSERT_TRUE(cluster.Send(w[0], payload[0]).ok());  // takes rank 1's with it, not rank 2's
  EXPECT_FALSE(cluster.coordinator->MayRead(w[2].who()));
  EXPECT_TRUE(cluster.coordinator->MayRead(w[1].who()));
  EXPECT_GT(w[1].stream->wakes(), wakes);
}

TEST(CoordinatorTest, ATrainerThatHangsWhileItsHeartbeatsComeIsLostByName) {
  FakeCluster cluster(JobOf(2, "step_timeout_seconds: 5"));
  const auto workers = cluster.EnterAll(2);
  ASSERT_TRUE(cluster.Push(workers[0], Filled(1)).ok());
  const auto beat = [&](const FakeWorker& worker, double age) {
    v1::HeartbeatRequest request;
    request.set_worker_id(worker.id);
    request.set_incarnation(worker.lease.incarnation());
    request.set_progress_age_seconds(age);
    ASSERT_TRUE(cluster.coordinator->Heartbeat(request).ok());
  };
  beat(workers[0], 0);
  beat(workers[1], 4.9);
  cluster.coordinator->Tick();
  EXPECT_EQ(cluster.version(), 0u);
  beat(workers[1], 5.1);
  cluster.coordinator->Tick();
  EXPECT_EQ(cluster.version(), 1u);  // the others go on
  EXPECT_EQ(cluster.StatusOf("w1").state(), "lost");
  EXPECT_THAT(cluster.StatusOf("w1").note(), HasSubstr("membership.step_timeout_seconds"));
  EXPECT_EQ(workers[1].stream->closed()->code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace gradwire
