// SPDX-License-Identifier: Apache-2.0
// Shards of a job: together they are the job, bit for bit; and what does not go with them.
#include "common/replica/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/replica/job_shard.h"
#include "common/replica/snapshot.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

// Two segments: blocks of 262144, 262144 and 75712 in the first, of 262144 and 262 in the second.
constexpr char kModel[] =
    "model { tensors { tensor { name: 'a' shape: 300000 init: 'normal:1' } "
    "tensor { name: 'b' shape: [100, 3000] init: 'he_uniform' } "
    "tensor { name: 'c' shape: [262406] init: 'normal:2' } } } steps: 9 ";
constexpr char kTwoCodecs[] = "codec: 'random_k:0.01' tensors { name: 'c' codec: 'top_k:0.1' } ";
constexpr size_t kBlocks = 5;

std::string JobText(const std::string& rest = "") { return absl::StrCat(kModel, kTwoCodecs, rest); }

std::shared_ptr<const Job> ShardJob(const Job& whole, uint32_t index, uint32_t count) {
  auto job = MakeJob(whole.config, {index, count});
  EXPECT_TRUE(job.ok()) << job.status();
  return *job;
}

TEST(ShardTest, TextIsIndexAndCount) {
  const auto shard = ParseShard("1/2");
  ASSERT_TRUE(shard.ok()) << shard.status();
  EXPECT_TRUE(*shard == (Shard{1, 2}));
  EXPECT_EQ(ShardText(*shard), "1/2");
  EXPECT_TRUE(ParseShard("0/1")->alone());
  EXPECT_TRUE(ParseShard("63/64").ok());
  for (const char* text : {"", "1", "2/2", "-1/2", "0/0", "0/65", "a/b", "0/2/3", "0/2 x"}) {
    EXPECT_THAT(std::string(ParseShard(text).status().message()), HasSubstr("is not INDEX/COUNT"))
        << text;
  }
}

TEST(ShardTest, ShardsFollowEachOtherAndAreAsEqualAsBlocksAllow) {
  const auto whole = MakeTestJob(JobText());
  ASSERT_EQ(whole->layout.blocks(), kBlocks);
  // By hand, from the blocks' offsets 0, 262144, 524288, 600000, 862144 of 862406.
  const std::vector<std::vector<size_t>> first_blocks = {
      {0}, {0, 2}, {0, 1, 3}, {0, 1, 2, 3}, {0, 1, 2, 3, 4}};
  for (uint32_t count = 1; count <= kBlocks; ++count) {
    for (uint32_t index = 0; index < count; ++index) {
      const BlockRange range = BlocksOfShard(whole->layout, {index, count});
      EXPECT_EQ(range.first, first_blocks[count - 1][index]) << index << "/" << count;
      const size_t end = index + 1 < count ? first_blocks[count - 1][index + 1] : kBlocks;
      EXPECT_EQ(range.end, end) << index << "/" << count;
    }
  }
}

TEST(ShardTest, BlocksKeysAndFirstValuesAreThoseOfTheWholeJob) {
  const auto whole = MakeTestJob(JobText());
  const Replica all(whole);
  for (uint32_t count = 2; count <= kBlocks; ++count) {
    size_t block = 0;
    size_t coordinate = 0;
    for (uint32_t index = 0; index < count; ++index) {
      const auto job = ShardJob(*whole, index, count);
      EXPECT_EQ(job->schema_hash, whole->schema_hash);
      EXPECT_EQ(job->layout.first_block(), block);
      EXPECT_EQ(job->layout.first_coordinate(), coordinate);
      EXPECT_EQ(job->plans.size(), job->layout.blocks());
      const Replica part(job);
      for (size_t i = 0; i < part.parameters().size(); ++i) {
        ASSERT_EQ(part.parameters()[i], all.parameters()[coordinate + i])
            << index << "/" << count << " " << i;
      }
      EXPECT_EQ(job->layout.CoordinateName(7), whole->layout.CoordinateName(coordinate + 7));
      for (size_t b = 0; b < job->layout.blocks(); ++b, ++block) {
        const BlockKey key = job->Key(3, b);
        const BlockKey wanted = whole->Key(3, block);
        EXPECT_EQ(key.block, b);
        EXPECT_EQ(key.number(), wanted.number());
        EXPECT_EQ(key.size, wanted.size);
        EXPECT_EQ(key.columns, wanted.columns);
        EXPECT_EQ(job->plans[b].codec->id(), whole->plans[block].codec->id());
        EXPECT_EQ(coordinate + job->layout.block_offset(b), whole->layout.block_offset(block));
      }
      coordinate += job->layout.dimension();
    }
    EXPECT_EQ(block, kBlocks);
    EXPECT_EQ(coordinate, whole->layout.dimension());
  }
}

TEST(ShardTest, BasesAreCountedFromTheShardsFirstBlock) {
  const auto whole = MakeTestJob(
      "model { tensors { tensor { name: 'a' shape: [8, 4] } tensor { name: 'b' shape: [4, 6] } } } "
      "steps: 9 codec: 'powersgd:rank=1'");
  ASSERT_EQ(whole->layout.blocks(), 2u);
  const auto second = ShardJob(*whole, 1, 2);
  EXPECT_EQ(second->plans[0].basis_offset, 0u);
  EXPECT_EQ(second->basis_size(), whole->plans[1].basis_size);
}

TEST(ShardTest, AReplicaKeepsItsParametersWhereItIsTold) {
  const auto job = ShardJob(
      *MakeTestJob(absl::StrCat(kModel, "codec: 'random_k:0.01' optimizer: 'adam:lr=0.1'")), 1, 2);
  const Replica own = TrainedReplica(job, 3);
  std::vector<float> home(job->layout.dimension() + 1, 77.0f);
  Replica there(job, absl::MakeSpan(home).first(job->layout.dimension()));
  EXPECT_EQ(there.parameters().data(), home.data());
  auto contents = DecodeSnapshot(*job, EncodeSnapshot(own, true));
  ASSERT_TRUE(contents.ok()) << contents.status();
  ASSERT_TRUE(there.Load(*std::move(contents)).ok());
  EXPECT_EQ(there.parameters().data(), home.data());
  EXPECT_EQ(there.Hash(), own.Hash());
  EXPECT_EQ(home.back(), 77.0f);
}

TEST(ShardTest, MoreShardsThanBlocksAreRefusedWithBothNumbers) {
  const auto whole = MakeTestJob(JobText());
  const absl::Status status = MakeJob(whole->config, {0, 6}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("has 5 blocks"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("too few for 6 shards"));
  EXPECT_FALSE(MakeJob(whole->config, {2, 2}).ok());
}

TEST(ShardTest, WhatNeedsTheWholeVectorIsRefusedByNameWithTheRemedy) {
  const struct {
    const char* text;
    const char* field;
    const char* remedy;
  } cases[] = {
      {"lag: 1", "lag: \"1\"", "0"},
      {"log: 'snapshots_only'", "log: \"snapshots_only\"", "full"},
      {"clip: 'norm:1'", "clip: \"norm:1\"", "value:LIMIT"},
      {"perturbation: 'on_demand:1,0.5'", "perturbation: \"on_demand", "gaussian"},
      {"perturbation: 'sphere:0.1'", "perturbation: \"sphere", "gaussian"},
      {"reset: 'reset:steps=5'", "reset: \"reset:steps=5\"", "none"},
      {"consistency: QUORUM", "consistency: \"QUORUM\"", "SYNC"},
      {"consistency: ASYNC", "consistency: \"ASYNC\"", "SYNC"},
      {"error_feedback: 'ef21'", "error_feedback: \"ef21\"", "classic"},
  };
  for (const auto& c : cases) {
    const std::string codec =
        absl::StrContains(c.text, "ef21") ? "codec: 'top_k:0.1' " : kTwoCodecs;
    const auto config = ParseJobText(absl::StrCat(kModel, codec, c.text));
    ASSERT_TRUE(config.ok()) << config.status();
    ASSERT_TRUE(MakeJob(*config).ok()) << c.text << MakeJob(*config).status();
    const absl::Status status = MakeJob(*config, {0, 2}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.field));
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("choose ", c.remedy)));
  }
}

TEST(ShardTest, JoinedSnapshotsAreTheWholeJobs) {
  const auto whole = MakeTestJob(JobText("optimizer: 'adam:lr=0.1'"));
  Replica all(whole);
  ASSERT_TRUE(all.Apply(*FirstRecord(*whole)).ok());
  const std::string want = EncodeSnapshot(all, false);
  std::vector<std::string> parts;
  for (uint32_t index = 0; index < 3; ++index) {
    const auto job = ShardJob(*whole, index, 3);
    Replica replica(job);
    ASSERT_TRUE(replica.Apply(*FirstRecord(*job)).ok());
    parts.push_back(EncodeSnapshot(replica, false));
  }
  const auto joined = JoinSnapshots(parts);
  ASSERT_TRUE(joined.ok()) << joined.status();
  EXPECT_TRUE(*joined == want);

  std::swap(parts[0], parts[1]);
  EXPECT_THAT(std::string(JoinSnapshots(parts).status().message()),
              HasSubstr("shard 0: snapshot: it is of shard 1/3, wanted is 0/3"));
  std::swap(parts[0], parts[1]);
  parts[2].resize(parts[2].size() - 4);
  EXPECT_THAT(std::string(JoinSnapshots(parts).status().message()), HasSubstr("shard 2: "));
  parts.pop_back();
  EXPECT_THAT(std::string(JoinSnapshots(parts).status().message()),
              HasSubstr("it is of shard 0/3, wanted is 0/2"));
}

TEST(ShardTest, AShardsSnapshotIsRefusedByAnother) {
  const auto whole =
      MakeTestJob("model { tensors { tensor { name: 'w' shape: 524288 } } } steps: 9");
  const Replica first = TrainedReplica(ShardJob(*whole, 0, 2), 1);
  const auto other = DecodeSnapshot(*ShardJob(*whole, 1, 2), EncodeSnapshot(first, true));
  EXPECT_THAT(std::string(other.status().message()),
              HasSubstr("it is of shard 0/2, wanted is 1/2"));
}

}  // namespace
}  // namespace gradwire
