// SPDX-License-Identifier: Apache-2.0
// Followers at the coordinator: they get what everybody gets, and have no say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

constexpr char kJob[] =
    "model { tensors { tensor { name: 'w' shape: 4 } } } steps: 2 membership { workers: 1 }";

struct FakeFollower {
  std::shared_ptr<FakeStream> stream = std::make_shared<FakeStream>();
  v1::Hello hello;
};

FakeFollower NewFollower(const FakeCluster& cluster, const std::string& name = "") {
  FakeFollower follower;
  follower.hello.set_follower(true);
  follower.hello.set_worker_id(name);
  follower.hello.set_schema_hash(cluster.job->schema_hash);
  return follower;
}

absl::StatusOr<uint64_t> Enter(FakeCluster* cluster, const FakeFollower& follower) {
  return cluster->coordinator->Hello(follower.hello, follower.stream);
}

void ExpectIs(const absl::Status& status, absl::StatusCode code, absl::string_view says) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(says)));
}

TEST(FollowerStreamTest, ItNeedsNoLeaseAndIsWokenForEveryRecord) {
  FakeCluster cluster(kJob);
  const FakeFollower early = NewFollower(cluster);
  const absl::StatusOr<uint64_t> first = Enter(&cluster, early);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(*first, 0u);
  const FakeWorker w = cluster.Enter("w0");
  EXPECT_EQ(early.stream->wakes(), 1);  // record 0
  ASSERT_TRUE(cluster.Push(w, {1, 2, 3, 4}).ok());
  EXPECT_EQ(early.stream->wakes(), 2);
  FakeFollower late = NewFollower(cluster);
  late.hello.mutable_at()->set_version(0);
  late.hello.mutable_at()->set_chain_hash(
      std::string(AsView(cluster.coordinator->log().Find(0)->chain_hash)));
  EXPECT_EQ(*Enter(&cluster, late), 1u);
  late.hello.mutable_at()->set_chain_hash(std::string(16, 'x'));
  EXPECT_TRUE(absl::IsOutOfRange(Enter(&cluster, late).status()));
  EXPECT_EQ(cluster.Status().workers_size(), 1);
}

TEST(FollowerStreamTest, ItsNameTakesNothingFromTheWorkerOfThatName) {
  FakeCluster cluster(kJob);
  const FakeWorker w = cluster.Enter("w0");
  const FakeFollower one = NewFollower(cluster, "w0");
  const FakeFollower two = NewFollower(cluster, "w0");
  ASSERT_TRUE(Enter(&cluster, one).ok());
  ASSERT_TRUE(Enter(&cluster, two).ok());
  EXPECT_FALSE(w.stream->closed().has_value());
  EXPECT_FALSE(one.stream->closed().has_value());
  cluster.coordinator->StreamEnded(one.hello, one.stream.get());
  EXPECT_EQ(cluster.StatusOf("w0").state(), "member");
  ASSERT_TRUE(cluster.Push(w, {1, 2, 3, 4}).ok());
  EXPECT_EQ(cluster.version(), 1u);
  EXPECT_EQ(one.stream->wakes(), 0);
  EXPECT_EQ(two.stream->wakes(), 1);
}

TEST(FollowerStreamTest, MoreThanItsHelloIsRefused) {
  FakeCluster cluster(kJob);
  const FakeWorker w = cluster.Enter("w0");
  FakeFollower follower = NewFollower(cluster, "w0");
  follower.hello.set_incarnation(w.lease.incarnation());  // as if it were the worker
  ASSERT_TRUE(Enter(&cluster, follower).ok());
  ExpectIs(cluster.coordinator->CaughtUp(follower.hello), absl::StatusCode::kInvalidArgument,
           "follower \"w0\"");
  ExpectIs(cluster.coordinator->Gradient(follower.hello, cluster.Payload({1, 2, 3, 4})[0]),
           absl::StatusCode::kInvalidArgument, "follower \"w0\"");
  EXPECT_EQ(cluster.version(), 0u);
  EXPECT_TRUE(cluster.coordinator->MayRead(follower.hello));
}

TEST(FollowerStreamTest, OneOfAnotherJobOrBuildIsRefused) {
  FakeCluster cluster(kJob);
  FakeFollower other = NewFollower(cluster);
  other.hello.set_schema_hash(cluster.job->schema_hash + 1);
  ExpectIs(Enter(&cluster, other).status(), absl::StatusCode::kFailedPrecondition, "schema");
  other.hello.clear_schema_hash();
  ExpectIs(Enter(&cluster, other).status(), absl::StatusCode::kFailedPrecondition, "schema");
  ExpectIs(Enter(&cluster, NewFollower(cluster, std::string(257, 'n'))).status(),
           absl::StatusCode::kInvalidArgument, "257 bytes");
}

TEST(FollowerStreamTest, ThereAreAtMostAThousand) {
  FakeCluster cluster(kJob);
  const FakeWorker w = cluster.Enter("w0");
  std::vector<FakeFollower> followers;
  for (int i = 0; i < 1000; ++i) {
    followers.push_back(NewFollower(cluster));
    ASSERT_TRUE(Enter(&cluster, followers.back()).ok()) << i;
  }
  const FakeFollower more = NewFollower(cluster);
  ExpectIs(Enter(&cluster, more).status(), absl::StatusCode::kResourceExhausted, "1000 followers");
  cluster.coordinator->StreamEnded(followers[7].hello, followers[7].stream.get());
  EXPECT_TRUE(Enter(&cluster, more).ok());
  EXPECT_TRUE(Enter(&cluster, NewFollower(cluster)).status().code() ==
              absl::StatusCode::kResourceExhausted);
}

TEST(FollowerStreamTest, TheEndDoesNotWaitForItAndIsTold) {
  FakeCluster cluster(kJob);
  const FakeFollower follower = NewFollower(cluster);
  ASSERT_TRUE(Enter(&cluster, follower).ok());
  const FakeWorker w = cluster.Enter("w0");
  ASSERT_TRUE(cluster.Push(w, {1, 2, 3, 4}).ok());
  ASSERT_TRUE(cluster.Push(w, {1, 2, 3, 4}).ok());
  EXPECT_EQ(cluster.Phase(), "finishing");
  EXPECT_EQ(follower.stream->stops(), 0u);
  ASSERT_TRUE(cluster.Leave(w).ok());
  EXPECT_EQ(cluster.Phase(), "finished");
  EXPECT_EQ(follower.stream->stops(), 1u);
  ASSERT_TRUE(follower.stream->closed().has_value());
  EXPECT_TRUE(follower.stream->closed()->ok());
  cluster.coordinator->StreamEnded(follower.hello, follower.stream.get());
}

}  // namespace
}  // namespace gradwire
