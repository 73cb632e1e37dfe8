// SPDX-License-Identifier: Apache-2.0
// Updates of an ASYNC job: decoded by the step of the payload that they answer, times its weight.
#include <gtest/gtest.h>

#include "common/codec/block_values.h"
#include "common/replica/replica.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

constexpr char kJob[] =
    "model { tensors { tensor { name: 'w' shape: 64 } } } steps: 9 codec: 'random_k:0.25' "
    "optimizer: 'sgd:lr=1' consistency: ASYNC";

// The parts of the next record: the update of a payload of `step`.
std::vector<v1::UpdatePart> AnswerTo(const Replica& replica, uint64_t step,
                                     std::vector<float> values, float weight) {
  std::vector<v1::UpdatePart> parts = NextParts(replica, values);
  const Job& job = *replica.job();
  const Codec& codec = *job.plans[0].codec;
  std::string payload;
  codec.Encode(job.Key(step, 0), absl::MakeSpan(values), &payload);
  BlockValues sent;
  EXPECT_TRUE(DecodePayload(codec, job.Key(step, 0), payload, &sent).ok());
  codec.EncodeUpdate(job.Key(step, 0), sent, parts[0].mutable_blocks(0)->mutable_payload());
  v1::AsyncAnswer* answer = parts.back().mutable_header()->mutable_answer();
  answer->set_incarnation(parts.back().header().used(0).incarnation());
  answer->set_step(step);
  answer->set_weight(weight);
  return parts;
}

Replica ReplicaAt(const std::shared_ptr<const Job>& job, uint64_t version) {
  Replica replica(job);
  EXPECT_TRUE(replica.Apply(*FirstRecord(*job)).ok());
  while (replica.version() < version) {
    const auto parts =
        AnswerTo(replica, replica.version() + 1, TestGradient(*job, replica.version()), 0.5F);
    EXPECT_TRUE(replica.Apply(*Seal(replica.version() + 1, parts)).ok());
  }
  return replica;
}

TEST(ReplicaAsyncTest, AnUpdateIsItsPayloadTimesTheWeight) {
  const auto job = MakeTestJob(kJob);
  Replica replica = ReplicaAt(job, 5);
  const std::vector<float> before(replica.parameters().begin(), replica.parameters().end());
  const std::vector<float> values = TestGradient(*job, 77);
  // Of step 2, whose 16 coordinates are others than those of step 6.
  ASSERT_TRUE(replica.Apply(*Seal(6, AnswerTo(replica, 2, values, 0.25F))).ok());
  std::vector<float> scratch = values;
  std::string payload;
  job->plans[0].codec->Encode(job->Key(2, 0), absl::MakeSpan(scratch), &payload);
  BlockValues sent;
  ASSERT_TRUE(DecodePayload(*job->plans[0].codec, job->Key(2, 0), payload, &sent).ok());
  MakeDense(64, &sent);
  size_t moved = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(replica.parameters()[i], before[i] - 0.25F * sent.values[i]) << i;
    if (replica.parameters()[i] != before[i]) ++moved;
  }
  EXPECT_EQ(moved, 16u);
}

TEST(ReplicaAsyncTest, AnswersThatNoServerGivesAreRefusedAndChangeNothing) {
  const auto job = MakeTestJob(kJob);
  Replica replica = ReplicaAt(job, 3);
  const uint64_t hash = replica.Hash();
  const std::vector<float> values = TestGradient(*job, 5);
  std::vector<std::vector<v1::UpdatePart>> bad;
  for (const float weight : {0.0F, -0.5F, 1.5F, NAN, INFINITY}) {
    bad.push_back(AnswerTo(replica, 4, values, weight));
  }
  for (const uint64_t step : {0, 5}) {
    bad.push_back(AnswerTo(replica, 4, values, 1));
    bad.back().back().mutable_header()->mutable_answer()->set_step(step);
  }
  bad.push_back(AnswerTo(replica, 4, values, 1));
  bad.back().back().mutable_header()->clear_answer();
  bad.push_back(AnswerTo(replica, 4, values, 1));
  bad.back().back().mutable_header()->mutable_answer()->set_rank(3);
  bad.push_back(AnswerTo(replica, 4, values, 1));
  bad.back().back().mutable_header()->mutable_answer()->set_incarnation(99);
  bad.push_back(AnswerTo(replica, 4, values, 1));
  *bad.back().back().mutable_header()->add_used() = bad.back().back().header().used(0);
  for (const auto& parts : bad) {
    const absl::Status status = replica.Apply(*Seal(4, parts));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_EQ(replica.Hash(), hash);
  }
  EXPECT_TRUE(replica.Apply(*Seal(4, AnswerTo(replica, 4, values, 1))).ok());
}

TEST(ReplicaAsyncTest, OnlyAnAsyncJobHasAnswers) {
  const auto job = MakeTestJob(
      "model { tensors { tensor { name: 'w' shape: 64 } } } steps: 9 codec: 'random_k:0.25'");
  Replica replica(job);
  ASSERT_TRUE(replica.Apply(*FirstRecord(*job)).ok());
  const absl::Status status =
      replica.Apply(*Seal(1, AnswerTo(replica, 1, TestGradient(*job, 5), 1)));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

}  // namespace
}  // namespace gradwire
