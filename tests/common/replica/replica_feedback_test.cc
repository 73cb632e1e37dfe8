// SPDX-License-Identifier: Apache-2.0
// What records do to the parts of a replica beside its parameters: EF21's mean, bases, and the
// perturbation on demand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/replica/block_codec.h"
#include "common/replica/replica.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

std::shared_ptr<const Job> JobOf(const std::string& rest, const std::string& shape = "4") {
  return MakeTestJob(absl::StrCat("model { tensors { tensor { name: 'w' shape: ", shape,
                                  " } } } steps: 9 ", rest));
}

std::string Bytes(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// The header of the record after the replica's point, of one contributor.
v1::Header NextHeader(const Replica& replica, float rate) {
  v1::Header header;
  header.set_previous_chain_hash(std::string(AsView(replica.chain_hash())));
  header.set_learning_rate(rate);
  header.set_reset_id(replica.reset_id());
  header.add_used()->set_incarnation(1);
  return header;
}

absl::Status ApplyPayload(Replica* replica, const v1::Header& header, v1::CodecId codec,
                          const std::string& payload) {
  v1::UpdatePart part;
  part.set_version(replica->version() + 1);
  AddBlock(0, codec, payload, &part);
  *part.mutable_header() = header;
  return replica->Apply(*Seal(part.version(), {part}));
}

// random_k of everything is an identity that has error feedback.
TEST(ReplicaFeedbackTest, Ef21AddsUpdatesToTheMeanAndAppliesTheMean) {
  const auto job = JobOf("codec: 'random_k:1' error_feedback: 'ef21'");
  Replica replica = TrainedReplica(job, 0);
  ASSERT_EQ(replica.state().size(), 1U);
  ASSERT_TRUE(
      ApplyPayload(&replica, NextHeader(replica, 0.5F), v1::CODEC_RANDOM_K, Bytes({1, -2, 0, 4}))
          .ok());
  EXPECT_THAT(replica.state()[0], ElementsAre(1, -2, 0, 4));
  EXPECT_THAT(replica.parameters(), ElementsAre(-0.5F, 1, 0, -2));
  ASSERT_TRUE(
      ApplyPayload(&replica, NextHeader(replica, 0.25F), v1::CODEC_RANDOM_K, Bytes({1, 0, 8, -4}))
          .ok());
  EXPECT_THAT(replica.state()[0], ElementsAre(2, -2, 8, 0));
  EXPECT_THAT(replica.parameters(), ElementsAre(-1, 1.5F, -2, -2));
  // Another reset_id: the update still counts, then the mean begins anew.
  v1::Header header = NextHeader(replica, 0.5F);
  header.set_reset_id(7);
  ASSERT_TRUE(ApplyPayload(&replica, header, v1::CODEC_RANDOM_K, Bytes({0, 2, 0, 0})).ok());
  EXPECT_THAT(replica.parameters(), ElementsAre(-2, 1.5F, -6, -2));
  EXPECT_THAT(replica.state()[0], Each(0.0F));
  EXPECT_EQ(replica.reset_id(), 7U);
}

TEST(ReplicaFeedbackTest, TheMeanIsTheLastOfTheStateAndTheOptimizerDoesNotSeeIt) {
  const auto job = JobOf("codec: 'random_k:1' error_feedback: 'ef21' optimizer: 'sgd:0.5,0.5'");
  Replica replica = TrainedReplica(job, 0);
  ASSERT_EQ(replica.state().size(), 2U);
  for (int step = 0; step < 2; ++step) {
    ASSERT_TRUE(
        ApplyPayload(&replica, NextHeader(replica, 0.5F), v1::CODEC_RANDOM_K, Bytes({4, 0, 0, 0}))
            .ok());
  }
  EXPECT_EQ(replica.state()[1][0], 8);              // 4 + 4
  EXPECT_EQ(replica.state()[0][0], 10);             // 0.5 * 4 + 8
  EXPECT_EQ(replica.parameters()[0], -(2.0F + 5));  // 0.5 * 4 + 0.5 * 10
}

TEST(ReplicaFeedbackTest, AResetIdWithoutAnUpdateForgetsTheMean) {
  const auto job = JobOf("codec: 'random_k:1' error_feedback: 'ef21'");
  Replica replica = TrainedReplica(job, 0);
  ASSERT_TRUE(
      ApplyPayload(&replica, NextHeader(replica, 1), v1::CODEC_RANDOM_K, Bytes({1, 2, 3, 4})).ok());
  v1::UpdatePart part;
  part.set_version(2);
  *part.mutable_header() = NextHeader(replica, 1);
  part.mutable_header()->clear_used();
  part.mutable_header()->set_reset_id(1);
  ASSERT_TRUE(replica.Apply(*Seal(2, {part})).ok());
  EXPECT_THAT(replica.state()[0], Each(0.0F));
  EXPECT_THAT(replica.parameters(), ElementsAre(-1, -2, -3, -4));
}

TEST(ReplicaFeedbackTest, AFlushedUpdateIsDenseAndLeavesTheBasis) {
  const auto job = JobOf("codec: 'powersgd:1' reset: 'flush:steps=2'", "12 shape: 10");
  Replica replica = TrainedReplica(job, 0);
  ASSERT_GT(replica.bases().size(), 0U);
  const std::vector<float> ones(120, 1);
  v1::Header header = NextHeader(replica, 1);
  const absl::Status early = ApplyPayload(&replica, header, v1::CODEC_IDENTITY, Bytes(ones));
  EXPECT_THAT(std::string(early.message()), HasSubstr("codec 1 is not the job's, 16"));
  header.set_flushed(true);
  ASSERT_TRUE(ApplyPayload(&replica, header, v1::CODEC_IDENTITY, Bytes(ones)).ok());
  EXPECT_THAT(replica.parameters(), Each(-1.0F));
  EXPECT_THAT(replica.bases(), Each(0.0F));
  // A payload of the codec moves the basis; as a flush it is refused.
  header = NextHeader(replica, 1);
  header.set_flushed(true);
  const std::string factor = Bytes(std::vector<float>(12, 1));
  EXPECT_THAT(std::string(ApplyPayload(&replica, header, v1::CODEC_POWERSGD, factor).message()),
              HasSubstr("codec 16 is not the job's, 1"));
  header.set_flushed(false);
  ASSERT_TRUE(ApplyPayload(&replica, header, v1::CODEC_POWERSGD, factor).ok());
  EXPECT_THAT(replica.bases(), testing::Contains(testing::Ne(0.0F)));
}

// scale times the standard normals of (seed, step, block), whatever the update brought.
TEST(ReplicaFeedbackTest, APerturbationIsAddedToTheParameters) {
  const auto job = JobOf("perturbation: 'on_demand:1,1'", absl::StrCat(kBlockSize + 5));
  Replica replica = TrainedReplica(job, 0);
  v1::UpdatePart part;
  part.set_version(1);
  AddBlock(0, v1::CODEC_IDENTITY, Bytes(std::vector<float>(kBlockSize, 0)), &part);
  AddBlock(1, v1::CODEC_IDENTITY, Bytes(std::vector<float>(5, 0)), &part);
  *part.mutable_header() = NextHeader(replica, 1);
  part.mutable_header()->set_perturbation_scale(0.5F);
  ASSERT_TRUE(replica.Apply(*Seal(1, {part})).ok());
  for (const uint32_t block : {0U, 1U}) {
    std::vector<float> want(job->layout.block_size(block), 0.0F);
    AddNormals({.seed = 1, .step = 1, .block = block, .size = want.size()}, Purpose::kOnDemand,
               0.5F, absl::MakeSpan(want));
    const auto got = replica.parameters().subspan(job->layout.block_offset(block), want.size());
    EXPECT_TRUE(std::equal(want.begin(), want.end(), got.begin())) << block;
  }
}

TEST(ReplicaFeedbackTest, ScalesThatNoServerMakesAreRefused) {
  const struct {
    const char* name;
    const char* job;
    float scale;
    bool used;
    const char* want;
  } cases[] = {
      {"another perturbation", "perturbation: 'gaussian:1'", 0.5F, true,
       "perturbation scale 0.5: only an update with payloads"},
      {"none", "", -1, true, "perturbation scale -1: only an update with payloads"},
      {"no payloads", "perturbation: 'on_demand:1,1'", 0.5F, false, "only an update with payloads"},
      {"nan", "perturbation: 'on_demand:1,1'", std::nanf(""), true, "scale nan is not finite"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    Replica replica = TrainedReplica(JobOf(c.job), 1);
    const uint64_t hash = replica.Hash();
    v1::UpdatePart part;
    part.set_version(2);
    *part.mutable_header() = NextHeader(replica, 1);
    part.mutable_header()->set_perturbation_scale(c.scale);
    if (c.used) AddBlock(0, v1::CODEC_IDENTITY, Bytes({1, 1, 1, 1}), &part);
    if (!c.used) part.mutable_header()->clear_used();
    const absl::Status status = replica.Apply(*Seal(2, {part}));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
    EXPECT_EQ(replica.Hash(), hash);
    EXPECT_EQ(replica.version(), 1U);
  }
}

}  // namespace
}  // namespace gradwire
