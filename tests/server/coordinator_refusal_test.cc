// SPDX-License-Identifier: Apache-2.0
// What the coordinator does not take: bad payloads, other histories, gradients that are not finite.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/replica/replica.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

std::string JobOf(size_t workers, const std::string& rest = "") {
  return absl::StrCat("model { tensors { tensor { name: 'w' shape: 600000 } } } steps: 100 ",
                      "codec: 'random_k:0.0001' membership { workers: ", workers, " } ", rest);
}

std::vector<float> Filled(float value) { return std::vector<float>(600000, value); }

float FirstOfUpdate(const FakeCluster& cluster) {
  return PayloadValues(RecordPayloads(*cluster.newest())[0])[0];
}

TEST(RefusalTest, ABadPayloadPutsItsWorkerOutAndTheJobGoesOn) {
  struct Case {
    const char* name;
    std::function<void(v1::Gradient*)> spoil;
    const char* says;
  };
  const Case cases[] = {
      {"length", [](auto* m) { m->mutable_blocks(0)->mutable_payload()->pop_back(); }, "103 bytes"},
      {"nan", [](auto* m) { m->mutable_blocks(0)->mutable_payload()->assign(104, '\xff'); }, "nan"},
      {"codec", [](auto* m) { m->set_codec(v1::CODEC_IDENTITY); }, "codec 1"},
      {"block", [](auto* m) { m->mutable_blocks(0)->set_block(77); }, "block 77"},
      {"abstains", [](auto* m) { m->mutable_end()->set_abstained(true); }, "has sent blocks"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    FakeCluster cluster(JobOf(3));
    const auto w = cluster.EnterAll(3);
    ASSERT_TRUE(cluster.Push(w[0], Filled(1)).ok());
    const auto payload = cluster.Payload(Filled(50));
    ASSERT_TRUE(cluster.Send(w[1], payload[1]).ok());  // one good block before the bad one
    v1::Gradient bad = payload[0];
    c.spoil(&bad);
    const absl::Status status = cluster.Send(w[1], bad);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("worker \"w1\" (rank 1), step 1"));
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.says));
    ASSERT_TRUE(w[1].stream->closed().has_value());
    EXPECT_EQ(*w[1].stream->closed(), status);  // the worker reads the reason
    EXPECT_EQ(cluster.Status().payloads_refused(), 1u);
    EXPECT_EQ(w[0].stream->resends(), 1u);  // its good block was summed
    ASSERT_TRUE(cluster.Push(w[0], Filled(1)).ok());
    ASSERT_TRUE(cluster.Push(w[2], Filled(3)).ok());
    EXPECT_EQ(cluster.version(), 1u);
    EXPECT_EQ(FirstOfUpdate(cluster), 2.0f);
    EXPECT_EQ(RecordHeader(*cluster.newest()).members_size(), 2);
  }
}

TEST(RefusalTest, AnIndexBeyondTheBlockIsRefused) {
  FakeCluster cluster(
      "model { tensors { tensor { name: 'w' shape: 100 } } } steps: 9 codec: 'top_k:0.02' "
      "membership { workers: 2 }");
  const auto w = cluster.EnterAll(2);
  auto bad = MakePayload(*cluster.job, 1, cluster.chain_hash(), std::vector<float>(100, 1.0f));
  // Whatever the form: every gap as long as can be.
  std::string* payload = bad[0].mutable_blocks(0)->mutable_payload();
  for (size_t i = 1; i + 8 < payload->size(); ++i) (*payload)[i] = '\xff';
  const absl::Status status = cluster.Send(w[1], bad[0]);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("block 0"));
  ASSERT_TRUE(cluster.Push(w[0], std::vector<float>(100, 2.0f)).ok());
  EXPECT_EQ(cluster.version(), 1u);
}

TEST(RefusalTest, APayloadThatOverflowsTheSumLeavesItsWorkerWhateverTheOrder) {
  for (const bool in_order : {true, false}) {
    SCOPED_TRACE(in_order);
    FakeCluster cluster(JobOf(2));
    const auto w = cluster.EnterAll(2);
    const auto huge = cluster.Payload(Filled(3e38f), 3);
    cluster.Send(w[in_order ? 0 : 1], huge[0]).IgnoreError();
    cluster.Send(w[in_order ? 1 : 0], huge[0]).IgnoreError();
    EXPECT_EQ(cluster.StatusOf("w1").state(), "lost");
    EXPECT_EQ(cluster.Status().payloads_refused(), 1u);
    EXPECT_EQ(cluster.version(), 1u);  // with rank 0's payload alone
    EXPECT_EQ(FirstOfUpdate(cluster), 3e38f);
    EXPECT_EQ(RecordHeader(*cluster.newest()).used_size(), 1);
    for (const float value : cluster.Parameters()) ASSERT_TRUE(std::isfinite(value));
  }
}

// Rank 1 and 2 overflow together, and wait for rank 0, which is lost: nobody sends any more.
TEST(RefusalTest, AnOverflowThatADepartureUncoversIsSeenAtOnce) {
  FakeCluster cluster(JobOf(3));
  const auto w = cluster.EnterAll(3);
  const auto huge = cluster.Payload(Filled(3e38f), 3);
  ASSERT_TRUE(cluster.Send(w[1], huge[0]).ok());
  ASSERT_TRUE(cluster.Send(w[2], huge[0]).ok());
  ASSERT_TRUE(cluster.Leave(w[0]).ok());
  EXPECT_EQ(cluster.StatusOf("w2").state(), "lost");
  EXPECT_EQ(cluster.version(), 1u);
  EXPECT_EQ(FirstOfUpdate(cluster), 3e38f);
}

TEST(RefusalTest, AnotherHistoryIsResyncedOnceAndThenDisconnected) {
  FakeCluster cluster(JobOf(2));
  auto w = cluster.EnterAll(2);
  const auto wrong = MakePayload(*cluster.job, 1, std::string(16, 'x'), Filled(1));
  EXPECT_TRUE(cluster.Send(w[1], wrong[0]).ok());
  ASSERT_EQ(w[1].stream->resyncs(), 1u);
  // The rest of that payload, on its way already, is no second offence.
  EXPECT_TRUE(cluster.Send(w[1], wrong[1]).ok());
  EXPECT_TRUE(cluster.Send(w[1], wrong[2]).ok());
  EXPECT_EQ(w[1].stream->resyncs(), 1u);
  EXPECT_FALSE(w[1].stream->closed().has_value());
  ASSERT_TRUE(cluster.Push(w[0], Filled(1)).ok());
  EXPECT_EQ(RecordHeader(*cluster.newest()).members_size(), 1);  // until it has caught up

  cluster.BreakStream(w[1]);  // it fetches a snapshot, which may take longer than the grace
  cluster.clock.Advance(absl::Seconds(4));
  cluster.Heartbeat(w[0]);
  cluster.Heartbeat(w[1]);
  cluster.coordinator->Tick();
  w[1].stream = std::make_shared<FakeStream>();
  ASSERT_TRUE(cluster.coordinator->Hello(w[1].who(), w[1].stream).ok());
  ASSERT_TRUE(cluster.coordinator->CaughtUp(w[1].who()).ok());
  ASSERT_TRUE(cluster.Push(w[0], Filled(1)).ok());
  ASSERT_EQ(RecordHeader(*cluster.newest()).members_size(), 2);

  const auto again = MakePayload(*cluster.job, 3, std::string(16, 'x'), Filled(1));
  const absl::Status status = cluster.Send(w[1], again[0]);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(w[1].stream->closed()->code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(cluster.StatusOf("w1").state(), "lost");
  ASSERT_TRUE(cluster.Push(w[0], Filled(1)).ok());
  EXPECT_EQ(cluster.version(), 3u);
}

TEST(RefusalTest, AnotherHistoryFromAStreamThatHasEndedDoesNoHarm) {
  FakeCluster cluster(JobOf(2));
  const auto w = cluster.EnterAll(2);
  cluster.BreakStream(w[1]);  // its last message is handled only now
  const auto wrong = MakePayload(*cluster.job, 1, std::string(16, 'x'), Filled(1));
  EXPECT_TRUE(cluster.Send(w[1], wrong[0]).ok());
  ASSERT_TRUE(cluster.Push(w[0], Filled(1)).ok());
  EXPECT_EQ(cluster.version(), 1u);
}

TEST(RefusalTest, AReplicaHashThatDiffersIsNamedAndResynced) {
  FakeCluster cluster(JobOf(2, "hash_every: 2"));
  const auto w = cluster.EnterAll(2);
  Replica replica(cluster.job);
  ASSERT_TRUE(replica.Apply(*cluster.newest()).ok());
  const auto push = [&](const FakeWorker& worker, uint64_t hash) {
    auto payload = cluster.Payload(Filled(1), 3);
    payload[0].mutable_end()->set_has_replica_hash(true);
    payload[0].mutable_end()->set_replica_hash(hash);
    return cluster.Send(worker, payload[0]);
  };
  for (int step = 1; step <= 3; ++step) {
    ASSERT_TRUE(push(w[0], replica.Hash()).ok());
    // At an odd version nothing is compared.
    ASSERT_TRUE(push(w[1], step == 2 ? 5 : replica.Hash()).ok());
    ASSERT_EQ(cluster.version(), static_cast<uint64_t>(step));
    ASSERT_TRUE(replica.Apply(*cluster.newest()).ok());
  }
  EXPECT_EQ(w[1].stream->resyncs(), 0u);
  ASSERT_TRUE(push(w[0], replica.Hash()).ok());  // step 4, at version 3
  ASSERT_TRUE(push(w[1], 5).ok());
  ASSERT_TRUE(replica.Apply(*cluster.newest()).ok());
  ASSERT_TRUE(push(w[0], replica.Hash()).ok());  // step 5, at version 4
  ASSERT_TRUE(push(w[1], 5).ok());
  ASSERT_EQ(w[1].stream->resyncs(), 1u);
  const std::string reason = w[1].stream->controls().back().resync().reason();
  EXPECT_THAT(reason, HasSubstr("xxh3:0000000000000005 at version 4"));
  EXPECT_EQ(cluster.version(), 5u);  // without its payload
  EXPECT_EQ(RecordHeader(*cluster.newest()).used_size(), 1);
}

TEST(AbstentionTest, OneIsLeftOutAndCounted) {
  FakeCluster cluster(JobOf(2));
  const auto w = cluster.EnterAll(2);
  ASSERT_TRUE(cluster.Send(w[0], MakeAbstention(*cluster.job, 1, cluster.chain_hash())).ok());
  ASSERT_TRUE(cluster.Push(w[1], Filled(4)).ok());
  EXPECT_EQ(FirstOfUpdate(cluster), 4.0f);
  ASSERT_EQ(RecordHeader(*cluster.newest()).used_size(), 1);
  EXPECT_EQ(RecordHeader(*cluster.newest()).used(0).rank(), 1u);
  EXPECT_EQ(RecordHeader(*cluster.newest()).members_size(), 2);  // it stays a member
  EXPECT_EQ(cluster.Status().payloads_abstained(), 1u);
}

TEST(AbstentionTest, WhenAllAbstainTheJobStopsAndSaysWhy) {
  FakeCluster cluster(JobOf(2));
  const auto w = cluster.EnterAll(2);
  for (const FakeWorker& worker : w) {
    ASSERT_TRUE(cluster.Send(worker, MakeAbstention(*cluster.job, 1, cluster.chain_hash())).ok());
  }
  const auto result = cluster.coordinator->WaitForEnd(absl::ZeroDuration());
  EXPECT_EQ(result.phase, Phase::kFailed);
  for (const char* part : {"step 1", "\"w0\"", "w[3] is nan", "lower the learning rate"}) {
    EXPECT_THAT(std::string(result.failure.message()), HasSubstr(part));
  }
  EXPECT_EQ(cluster.version(), 0u);
  EXPECT_EQ(w[1].stream->closed()->code(), absl::StatusCode::kFailedPrecondition);
}

TEST(AbstentionTest, TenTimesRunningStopsTheJobNineTimesDoNot) {
  FakeCluster cluster(JobOf(2));
  const auto w = cluster.EnterAll(2);
  const auto abstain = [&] {
    ASSERT_TRUE(
        cluster
            .Send(w[0], MakeAbstention(*cluster.job, cluster.version() + 1, cluster.chain_hash()))
            .ok());
    ASSERT_TRUE(cluster.Push(w[1], Filled(1)).ok());
  };
  for (int i = 0; i < 9; ++i) abstain();
  ASSERT_TRUE(cluster.Push(w[0], Filled(1)).ok());
  ASSERT_TRUE(cluster.Push(w[1], Filled(1)).ok());
  for (int i = 0; i < 9; ++i) abstain();
  EXPECT_EQ(cluster.Phase(), "training");
  EXPECT_EQ(cluster.version(), 19u);
  abstain();
  EXPECT_EQ(cluster.version(), 19u);
  const auto result = cluster.coordinator->WaitForEnd(absl::ZeroDuration());
  EXPECT_EQ(result.phase, Phase::kFailed);
  EXPECT_THAT(std::string(result.failure.message()),
              HasSubstr("\"w0\" has abstained 10 times running, last at step 20"));
}

}  // namespace
}  // namespace gradwire
