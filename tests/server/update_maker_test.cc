// SPDX-License-Identifier: Apache-2.0
// From a complete round to the parts of an update: mean, noise, sizes, nothing that is not finite.
#include "server/update_maker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "common/replica/block_codec.h"
#include "common/rpc/limits.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const Job> MakerJob(size_t dimension, const std::string& rest) {
  return MakeTestJob(absl::StrCat("model { tensors { tensor { name: 'w' shape: ", dimension,
                                  " } } } steps: 100 ", rest));
}

// A complete round of step 1 of these gradients, by rank.
Round CompleteRound(const std::shared_ptr<const Job>& job,
                    const std::vector<std::vector<float>>& gradients) {
  Round round(job);
  std::vector<v1::Member> members(gradients.size());
  for (size_t i = 0; i < members.size(); ++i) {
    members[i].set_rank(static_cast<uint32_t>(i));
    members[i].set_incarnation(1);
  }
  round.Open(1, members);
  for (size_t i = 0; i < gradients.size(); ++i) {
    for (const v1::Gradient& message : MakePayload(*job, 1, "", gradients[i])) {
      const absl::Status status = round.Add(static_cast<uint32_t>(i), 1, message).status();
      EXPECT_TRUE(status.ok()) << status;
    }
  }
  EXPECT_TRUE(round.complete());
  return round;
}

v1::Header HeaderAt(const Job& job) {
  v1::Header header;
  header.set_learning_rate(LearningRateAt(job, 1));
  header.add_used()->set_incarnation(1);
  return header;
}

TEST(UpdateMakerTest, TheUpdateIsThePayloadOfTheMeanInRankOrder) {
  for (const char* codec :
       {"identity", "random_k:0.001", "random_k:0.001,values=bf16", "random_k:0.001,values=fp16"}) {
    SCOPED_TRACE(codec);
    const auto job = MakerJob(600000, absl::StrCat("codec: '", codec, "'"));
    std::vector<std::vector<float>> gradients;
    for (uint64_t i = 0; i < 3; ++i) gradients.push_back(TestGradient(*job, i + 1));
    // Values of 8 bits, so that 16-bit formats hold each worker's own exactly.
    for (auto& gradient : gradients) {
      for (float& value : gradient) value = std::round(value * 16) / 16;
    }
    std::vector<float> mean = gradients[0];
    for (size_t i = 0; i < mean.size(); ++i) {
      mean[i] = ((gradients[0][i] + gradients[1][i]) + gradients[2][i]) / 3.0f;
    }
    const auto made = UpdateMaker(job).Make(CompleteRound(job, gradients), 1, HeaderAt(*job));
    ASSERT_TRUE(made.ok()) << made.status();
    const auto record = MakeRecord(1, made->parts, made->payload_bytes);
    const std::vector<std::string> payloads = RecordPayloads(*record);
    const auto expected = MakePayload(*job, 1, "", mean);
    ASSERT_EQ(payloads.size(), 3u);
    size_t bytes = 0;
    for (size_t block = 0; block < 3; ++block) {
      EXPECT_EQ(payloads[block], expected[block].blocks(0).payload()) << "block " << block;
      bytes += payloads[block].size();
    }
    EXPECT_EQ(made->payload_bytes, bytes);
  }
}

TEST(UpdateMakerTest, PartsFitIntoMessagesAndOnlyTheLastHasTheHeader) {
  struct Case {
    const char* name;
    size_t dimension;
    size_t members;
    size_t parts;
  };
  const Case cases[] = {
      {"one small block", 10, 2, 1},
      {"one whole block", kBlockSize, 2, 1},
      {"two whole blocks and a rest", 2 * kBlockSize + 100, 2, 3},
      {"a header too long to stand beside a block", kBlockSize, 4000, 2},
      {"a long header beside nothing much", 10, 4000, 2},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto job = MakerJob(c.dimension, "codec: 'identity'");
    v1::Header header = HeaderAt(*job);
    for (size_t i = 0; i < c.members; ++i) {
      header.add_members()->set_id(absl::StrCat(i, std::string(200, 'n')));
    }
    const auto made = UpdateMaker(job).Make(
        CompleteRound(job, {std::vector<float>(c.dimension, 1.0f)}), 1, header);
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_EQ(made->parts.size(), c.parts);
    for (size_t i = 0; i < made->parts.size(); ++i) {
      EXPECT_LE(made->parts[i].size() + 16, kMaxMessageBytes);
      v1::UpdatePart part;
      ASSERT_TRUE(part.ParseFromString(made->parts[i]));
      EXPECT_EQ(part.version(), 1u);
      EXPECT_EQ(part.has_header(), i + 1 == made->parts.size());
    }
  }
}

TEST(UpdateMakerTest, ReplicasTakeWhatItMakes) {
  for (const char* codec : {"identity", "random_k:0.05", "top_k:0.05"}) {
    SCOPED_TRACE(codec);
    const auto job =
        MakerJob(1000, absl::StrCat("codec: '", codec, "' perturbation: ", "'gaussian:std=0.1'"));
    Replica replica(job);
    ASSERT_TRUE(replica.Apply(*FirstRecord(*job)).ok());
    v1::Header header = HeaderAt(*job);
    header.set_previous_chain_hash(std::string(AsView(replica.chain_hash())));
    const auto round = CompleteRound(job, {TestGradient(*job, 1), TestGradient(*job, 2)});
    const auto made = UpdateMaker(job).Make(round, 1, header);
    ASSERT_TRUE(made.ok()) << made.status();
    const absl::Status applied = replica.Apply(*MakeRecord(1, made->parts));
    EXPECT_TRUE(applied.ok()) << applied;
  }
}

TEST(UpdateMakerTest, WithoutPerturbationOfNothingComesExactlyNothing) {
  const auto job = MakerJob(1000, "codec: 'random_k:0.1'");
  const auto made = UpdateMaker(job).Make(
      CompleteRound(job, {std::vector<float>(1000, 0.0f), std::vector<float>(1000, 0.0f)}), 1,
      HeaderAt(*job));
  ASSERT_TRUE(made.ok());
  const auto record = MakeRecord(1, made->parts);
  for (const float value : PayloadValues(RecordPayloads(*record)[0])) EXPECT_EQ(value, 0.0f);
}

TEST(UpdateMakerTest, WhatIsNotFiniteIsNeverMade) {
  const auto job = MakerJob(kBlockSize + 1000, "perturbation: 'gaussian:std=1'");
  v1::Header header = HeaderAt(*job);
  header.set_learning_rate(3e38f);  // the noise alone overflows
  const auto made = UpdateMaker(job).Make(
      CompleteRound(job, {std::vector<float>(kBlockSize + 1000, 0.0f)}), 1, header);
  EXPECT_EQ(made.status().code(), absl::StatusCode::kOutOfRange);
  for (const char* part : {"step 1", "block 0", "w[", "lower the learning rate"}) {
    EXPECT_THAT(std::string(made.status().message()), HasSubstr(part));
  }
}

// torch.nn.utils: clip_grad_norm_ multiplies by limit / (norm + 1e-6) when that is below 1,
// clip_grad_value_ cuts each coordinate; both in gradient units, whatever the payload is in.
TEST(UpdateMakerTest, ClipsTheAggregateInGradientUnits) {
  constexpr float kRate = 0.1f;
  const std::vector<float> gradient = {3, -4, 0, 12};  // of norm 13
  struct Case {
    const char* clip;
    std::vector<double> want;
  };
  const double by_norm = 6.5 / (13 + 1e-6);
  const Case cases[] = {
      {"none", {3, -4, 0, 12}},      {"norm:6.5", {3 * by_norm, -4 * by_norm, 0, 12 * by_norm}},
      {"norm:13.1", {3, -4, 0, 12}}, {"value:3.5", {3, -3.5, 0, 3.5}},
      {"value:12", {3, -4, 0, 12}},
  };
  for (const Case& c : cases) {
    for (const char* optimizer : {"sgd:lr=0.1", "sgd:lr=0.1,momentum=0.9"}) {
      SCOPED_TRACE(absl::StrCat(c.clip, " ", optimizer));
      const auto job =
          MakerJob(4, absl::StrCat("clip: '", c.clip, "' optimizer: '", optimizer, "'"));
      const double unit = job->optimizer->units() == Units::kUpdate ? kRate : 1;
      // Two workers whose mean is the gradient.
      std::vector<std::vector<float>> payloads(2);
      for (const float g : gradient) {
        payloads[0].push_back(static_cast<float>(unit * (g + 1)));
        payloads[1].push_back(static_cast<float>(unit * (g - 1)));
      }
      UpdateMaker maker(job);
      const Round round = CompleteRound(job, payloads);
      EXPECT_NEAR(maker.Norm(round, kRate), 13, 1e-5);
      const auto made = maker.Make(round, 1, HeaderAt(*job));
      ASSERT_TRUE(made.ok()) << made.status();
      const auto values = PayloadValues(RecordPayloads(*MakeRecord(1, made->parts))[0]);
      for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(values[i], unit * c.want[i], 1e-5) << i;
    }
  }
}

TEST(UpdateMakerTest, TheNormIsOfAllBlocks) {
  const auto job = MakerJob(kBlockSize + 9, "clip: 'norm:1' optimizer: 'sgd:lr=0.5'");
  std::vector<float> payload(kBlockSize + 9, 0.0f);
  payload[5] = 1.5f;
  payload[kBlockSize + 3] = -2;  // in units of 0.5: a gradient of norm 5
  const auto made = UpdateMaker(job).Make(CompleteRound(job, {payload}), 1, HeaderAt(*job));
  ASSERT_TRUE(made.ok());
  const auto payloads = RecordPayloads(*MakeRecord(1, made->parts));
  EXPECT_NEAR(PayloadValues(payloads[0])[5], 0.3, 1e-6);
  EXPECT_NEAR(PayloadValues(payloads[1])[3], -0.4, 1e-6);
}

// At a learning rate of 0 (a schedule's end) an update has no gradient in it that could be small.
TEST(UpdateMakerTest, WithoutALearningRateTheNormIsInfiniteAndEveryClipIsToNothing) {
  for (const char* clip : {"norm:1", "value:1"}) {
    SCOPED_TRACE(clip);
    const auto job = MakerJob(4, absl::StrCat("clip: '", clip, "'"));
    const Round round = CompleteRound(job, {{1, 2, 3, 4}});
    UpdateMaker maker(job);
    EXPECT_EQ(maker.Norm(round, 0), std::numeric_limits<double>::infinity());
    v1::Header header = HeaderAt(*job);
    header.set_learning_rate(0);
    const auto made = maker.Make(round, 1, header);
    ASSERT_TRUE(made.ok()) << made.status();
    for (const float value : PayloadValues(RecordPayloads(*MakeRecord(1, made->parts))[0])) {
      EXPECT_EQ(value, 0.0f);
    }
  }
}

// As many tensors as there may be, whose codecs take turns: each is a block, and messages stay
// short.
TEST(UpdateMakerTest, ManySmallBlocksFitIntoMessages) {
  constexpr int kTensors = kMaxTensors;
  std::string text = "codec: 'identity' tensors { name: '*1' codec: 'random_k:1' } steps: 9 ";
  absl::StrAppend(&text, "model { tensors { ");
  for (int i = 0; i < kTensors; ++i) {
    absl::StrAppend(&text, "tensor { name: '", i, i % 2, "' shape: 2 } ");
  }
  const auto job = MakeTestJob(text + "} }");
  ASSERT_EQ(job->layout.blocks(), static_cast<size_t>(kTensors));
  Round round(job);
  round.Open(1, std::vector<v1::Member>(1));
  v1::Gradient message;
  std::vector<float> value(2);
  for (uint32_t b = 0; b < kTensors; ++b) {
    std::string payload;
    value.assign(2, 2.0f);
    job->plans[b].codec->Encode(job->Key(1, b), absl::MakeSpan(value), &payload);
    gradwire::AddBlock(b, job->plans[b].codec->id(), payload, &message);
  }
  message.mutable_end();
  ASSERT_TRUE(round.Add(0, 0, message).ok());
  v1::Header header = HeaderAt(*job);
  Replica replica(job);
  ASSERT_TRUE(replica.Apply(*FirstRecord(*job)).ok());
  header.set_previous_chain_hash(std::string(AsView(replica.chain_hash())));
  const auto made = UpdateMaker(job).Make(round, 1, header);
  ASSERT_TRUE(made.ok()) << made.status();
  for (const std::string& part : made->parts) EXPECT_LE(part.size() + 16, kMaxMessageBytes);
  ASSERT_TRUE(replica.Apply(*MakeRecord(1, made->parts)).ok());
  for (const float parameter : replica.parameters()) ASSERT_EQ(parameter, -2.0f);
}

TEST(UpdateMakerTest, AnEmptyUpdateHasTheHeaderAlone) {
  const auto job = MakerJob(10, "");
  const MadeUpdate made = MakeEmptyUpdate(7, HeaderAt(*job));
  ASSERT_EQ(made.parts.size(), 1u);
  EXPECT_EQ(made.payload_bytes, 0u);
  v1::UpdatePart part;
  ASSERT_TRUE(part.ParseFromString(made.parts[0]));
  EXPECT_EQ(part.version(), 7u);
  EXPECT_EQ(part.blocks_size(), 0);
}

}  // namespace
}  // namespace gradwire
