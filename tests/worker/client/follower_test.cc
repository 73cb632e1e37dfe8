// SPDX-License-Identifier: Apache-2.0
// A record is applied when it is whole, and nothing else changes the replica.
#include "worker/client/follower.h"

#include <random>

#include "tests/worker/client/testing.h"

namespace gradwire {
namespace {

constexpr size_t kSmall = 6;
constexpr size_t kTwoBlocks = kBlockSize + 4;

v1::Header HeaderOf(bool used) {
  v1::Header header;
  header.set_next_learning_rate(0.5f);
  if (used) {
    header.set_learning_rate(0.5f);
    header.add_used()->set_incarnation(1);
  }
  return header;
}

// A follower of a zero model that has record 0, and the maker of what follows.
struct Fixture {
  explicit Fixture(uint64_t dimension)
      : job(MakeTestJob({.dimension = dimension})),
        maker(v1::CODEC_IDENTITY),
        record0(maker.Next(HeaderOf(false), {})),
        follower(job) {}

  void Start() {
    const auto applied = follower.Take(record0[0]);
    ASSERT_TRUE(applied.ok()) << applied.status();
    ASSERT_TRUE(*applied);
  }
  std::vector<std::string> TwoBlockUpdate(float first, float second) {
    return maker.Next(HeaderOf(true), {Bytes(std::vector<float>(kBlockSize, first)),
                                       Bytes(std::vector<float>(4, second))});
  }

  std::shared_ptr<const Job> job;
  RecordMaker maker;
  std::vector<std::string> record0;
  Follower follower;
};

TEST(FollowerTest, AppliesARecordWhenItsHeaderHasCome) {
  Fixture f(kTwoBlocks);
  f.Start();
  EXPECT_EQ(f.follower.replica().version(), 0u);
  const std::vector<std::string> parts = f.TwoBlockUpdate(0.25f, -2.0f);
  ASSERT_EQ(parts.size(), 2u);
  auto applied = f.follower.Take(parts[0]);
  ASSERT_TRUE(applied.ok()) << applied.status();
  EXPECT_FALSE(*applied);
  EXPECT_THAT(f.follower.replica().parameters(), testing::Each(0.0f));
  applied = f.follower.Take(parts[1]);
  ASSERT_TRUE(applied.ok()) << applied.status();
  EXPECT_TRUE(*applied);
  EXPECT_EQ(f.follower.replica().version(), 1u);
  EXPECT_EQ(f.follower.replica().chain_hash(), f.maker.chain_hash());
  // Plain sgd: what was sent is subtracted.
  EXPECT_EQ(f.follower.replica().parameters()[0], -0.25f);
  EXPECT_EQ(f.follower.replica().parameters()[kBlockSize - 1], -0.25f);
  EXPECT_EQ(f.follower.replica().parameters()[kBlockSize], 2.0f);
  EXPECT_EQ(f.follower.payload_bytes(), kTwoBlocks * sizeof(float));
}

TEST(FollowerTest, BeginsAnOpenRecordAgainAfterABreak) {
  Fixture f(kTwoBlocks);
  f.Start();
  const std::vector<std::string> parts = f.TwoBlockUpdate(1.0f, 1.0f);
  ASSERT_TRUE(f.follower.Take(parts[0]).ok());
  f.follower.DropOpenRecord();
  ASSERT_TRUE(f.follower.Take(parts[0]).ok());
  const auto applied = f.follower.Take(parts[1]);
  ASSERT_TRUE(applied.ok()) << applied.status();
  EXPECT_TRUE(*applied);
}

TEST(FollowerTest, RefusesWhatIsNotTheNextRecordAndGoesOnAfterIt) {
  Fixture f(kSmall);
  f.Start();
  v1::UpdatePart empty;
  empty.set_version(1);
  v1::UpdatePart later;
  later.set_version(5);
  v1::UpdatePart huge;
  huge.set_version(1);
  huge.add_blocks()->set_payload(std::string((1 << 20) + 200, 'x'));
  RecordMaker other(v1::CODEC_IDENTITY);
  other.Next(HeaderOf(true), {});
  const std::string stranger = other.Next(HeaderOf(true), {Bytes(std::vector<float>(6, 1.0f))})[0];
  struct Case {
    const char* name;
    std::vector<std::string> parts;
    absl::StatusCode want;
    const char* says;
  };
  const Case cases[] = {
      {"garbage", {"\xff\xff\xff"}, absl::StatusCode::kInvalidArgument, "not an UpdatePart"},
      {"group", {"\x0b\x0c"}, absl::StatusCode::kInvalidArgument, "not an UpdatePart"},
      {"length_beyond_the_end", {"\x1a\x7f"}, absl::StatusCode::kInvalidArgument, "not an Update"},
      {"inner_length_beyond",
       {std::string("\x08\x01\x1a\x02\x12\x05", 6)},
       absl::StatusCode::kInvalidArgument,
       "not an UpdatePart"},
      {"record_0_again", f.record0, absl::StatusCode::kFailedPrecondition, "update 0"},
      {"later", {later.SerializeAsString()}, absl::StatusCode::kFailedPrecondition, "update 5"},
      {"too_long", {huge.SerializeAsString()}, absl::StatusCode::kInvalidArgument, "at most"},
      {"too_many_parts", std::vector<std::string>(3, empty.SerializeAsString()),
       absl::StatusCode::kInvalidArgument, "at most 2 parts"},
      {"another_history", {stranger}, absl::StatusCode::kFailedPrecondition, ""},
  };
  const uint64_t before = f.follower.replica().Hash();
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    absl::StatusOr<bool> applied = false;
    for (const std::string& part : c.parts) applied = f.follower.Take(part);
    EXPECT_EQ(applied.status().code(), c.want) << applied.status();
    EXPECT_THAT(applied.status().message(), testing::HasSubstr(c.says));
    EXPECT_EQ(f.follower.replica().version(), 0u);
    EXPECT_EQ(f.follower.replica().Hash(), before);
  }
  const auto applied =
      f.follower.Take(f.maker.Next(HeaderOf(true), {Bytes(std::vector<float>(6, 1.0f))})[0]);
  ASSERT_TRUE(applied.ok()) << applied.status();
  EXPECT_TRUE(*applied);
}

TEST(FollowerTest, SurvivesAnyDamageToAPart) {
  Fixture f(kSmall);
  f.Start();
  const std::string part = f.maker.Next(HeaderOf(true), {Bytes({1, 2, 3, 4, 5, 6})})[0];
  for (size_t length = 0; length < part.size(); ++length) {
    f.follower.Take(part.substr(0, length)).IgnoreError();
    f.follower.DropOpenRecord();
    EXPECT_EQ(f.follower.replica().version(), 0u) << "cut to " << length << " bytes";
  }
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = part;
    damaged[random() % damaged.size()] ^= static_cast<char>(1 << (random() % 8));
    Follower follower(f.job);
    ASSERT_TRUE(follower.Take(f.record0[0]).ok());
    follower.Take(damaged).IgnoreError();  // another value is not damage that can be seen here
    EXPECT_LE(follower.replica().version(), 1u);
  }
}

TEST(FollowerTest, GoesOnFromASnapshotAndRestartsAtTheSeed) {
  Fixture f(kSmall);
  f.Start();
  Replica::Contents contents;
  contents.version = 41;
  contents.chain_hash.fill('c');
  contents.parameters = {1, 2, 3, 4, 5, 6};
  ASSERT_TRUE(f.follower.Load(contents).ok());
  EXPECT_EQ(f.follower.replica().version(), 41u);
  EXPECT_THAT(f.follower.replica().parameters(), testing::ElementsAre(1, 2, 3, 4, 5, 6));
  contents.parameters.pop_back();
  contents.version = 50;
  EXPECT_EQ(f.follower.Load(contents).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(f.follower.replica().version(), 41u);
  f.follower.Restart();
  EXPECT_FALSE(f.follower.replica().started());
  f.Start();
}

}  // namespace
}  // namespace gradwire
