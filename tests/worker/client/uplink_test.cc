// SPDX-License-Identifier: Apache-2.0
// Error feedback loses nothing: what was sent and what remains is what was given.
#include "worker/client/uplink.h"

#include <cmath>
#include <limits>
#include <random>

#include "common/optimizer/perturbation.h"
#include "common/rpc/limits.h"
#include "tests/worker/client/testing.h"

namespace gradwire {
namespace {

constexpr MemberKey kMe = {.rank = 2, .incarnation = 7};
constexpr float kLearningRate = 0.5f;

v1::Header HeaderThatUsed(const std::vector<MemberKey>& used, uint64_t reset_id = 0) {
  v1::Header header;
  for (const MemberKey& key : used) {
    v1::Contributor* contributor = header.add_used();
    contributor->set_rank(key.rank);
    contributor->set_incarnation(key.incarnation);
  }
  header.set_reset_id(reset_id);
  return header;
}

// Multiples of 1/64 below 8: sums of hundreds of them are exact in float.
std::vector<float> DyadicGradient(uint64_t step, size_t dimension) {
  std::mt19937_64 random(step);
  std::vector<float> gradient(dimension);
  for (float& g : gradient) g = static_cast<float>(static_cast<int>(random() % 1024) - 512) / 64.0f;
  return gradient;
}

OpenStep Open(uint64_t step) { return {.step = step, .learning_rate = kLearningRate}; }

absl::Status Encode(Uplink* uplink, uint64_t step, std::vector<float> gradient) {
  return uplink->Encode(Open(step), absl::MakeSpan(gradient), {.loss = 1.5, .samples = 3});
}

std::vector<double> Decoded(const Job& job, Uplink* uplink) {
  std::vector<double> sum(job.layout.dimension(), 0.0);
  for (const v1::TrainRequest& message : uplink->Messages(kMe)) {
    DecodeInto(job, message.gradient(), &sum);
  }
  return sum;
}

std::vector<float> Residual(const Uplink& uplink) {
  return {uplink.residual().begin(), uplink.residual().end()};
}

// Of one coordinate; zero where nothing is remembered, as with identity.
double ResidualAt(const Uplink& uplink, size_t i) {
  return uplink.residual().empty() ? 0.0 : uplink.residual()[i];
}

struct Combination {
  const char* codec;
  const char* optimizer;
};

const Combination kCombinations[] = {
    {"identity", "sgd:lr=0.5"},
    {"random_k:0.1", "sgd:lr=0.5"},
    {"random_k:0.1", "sgd:lr=0.5,momentum=0.9"},
    {"random_k:0.1,values=bf16", "sgd:lr=0.5"},
    {"top_k:0.1", "sgd:lr=0.5"},
    {"top_k:0.1", "sgd:lr=0.5,momentum=0.9"},
    {"top_k:0.1,values=fp16", "sgd:lr=0.5"},
};

TEST(UplinkTest, SentAndResidualAreTheSumOfAllGradientsBitForBit) {
  for (const Combination& c : kCombinations) {
    SCOPED_TRACE(testing::Message() << c.codec << " " << c.optimizer);
    const auto job = MakeTestJob({.dimension = 300, .codec = c.codec, .optimizer = c.optimizer});
    const double scale = job->optimizer->units() == Units::kUpdate ? kLearningRate : 1.0;
    Uplink uplink(job);
    std::vector<double> given(300, 0.0);
    std::vector<double> sent(300, 0.0);
    for (uint64_t step = 1; step <= 30; ++step) {
      const std::vector<float> gradient = DyadicGradient(step, 300);
      for (size_t i = 0; i < 300; ++i) given[i] += scale * gradient[i];
      ASSERT_TRUE(Encode(&uplink, step, gradient).ok());
      const std::vector<double> decoded = Decoded(*job, &uplink);
      for (size_t i = 0; i < 300; ++i) sent[i] += decoded[i];
      ASSERT_TRUE(uplink.Resolve(step, HeaderThatUsed({kMe})).ok());
    }
    for (size_t i = 0; i < 300; ++i) {
      ASSERT_EQ(sent[i] + ResidualAt(uplink, i), given[i]) << "coordinate " << i;
    }
  }
}

TEST(UplinkTest, PlainSgdSendsUpdatesAndMomentumSendsGradients) {
  struct Case {
    const char* optimizer;
    float want;
  };
  for (const Case& c : {Case{"sgd:lr=0.5", 1.0f}, Case{"sgd:lr=0.5,momentum=0.9", 2.0f}}) {
    SCOPED_TRACE(c.optimizer);
    const auto job = MakeTestJob({.optimizer = c.optimizer});
    Uplink uplink(job);
    ASSERT_TRUE(Encode(&uplink, 1, std::vector<float>(8, 2.0f)).ok());
    EXPECT_THAT(Decoded(*job, &uplink), testing::Each(c.want));
  }
}

TEST(UplinkTest, PayloadThatWasNotUsedReturnsIntoTheResidual) {
  for (const Combination& c : kCombinations) {
    SCOPED_TRACE(testing::Message() << c.codec << " " << c.optimizer);
    const auto job = MakeTestJob({.dimension = 300, .codec = c.codec, .optimizer = c.optimizer});
    const double scale = job->optimizer->units() == Units::kUpdate ? kLearningRate : 1.0;
    Uplink uplink(job);
    std::vector<double> given(300, 0.0);
    for (uint64_t step = 1; step <= 5; ++step) {
      const std::vector<float> gradient = DyadicGradient(step, 300);
      for (size_t i = 0; i < 300; ++i) given[i] += scale * gradient[i];
      ASSERT_TRUE(Encode(&uplink, step, gradient).ok());
      uplink.Messages(kMe);
      // Another rank, and another incarnation of this one: neither is this payload.
      ASSERT_TRUE(uplink
                      .Resolve(step, HeaderThatUsed({{.rank = 1, .incarnation = 7},
                                                     {.rank = 2, .incarnation = 8}}))
                      .ok());
      EXPECT_EQ(uplink.held_step(), 0u);
    }
    for (size_t i = 0; i < 300; ++i) {
      ASSERT_EQ(ResidualAt(uplink, i), given[i]) << "coordinate " << i;
    }
  }
}

TEST(UplinkTest, PayloadSentByAnEarlierIncarnationCountsAsUsed) {
  const auto job = MakeTestJob({});
  Uplink uplink(job);
  ASSERT_TRUE(Encode(&uplink, 1, DyadicGradient(1, 8)).ok());
  uplink.Messages(kMe);
  uplink.Messages({.rank = 2, .incarnation = 8});
  ASSERT_TRUE(uplink.Resolve(1, HeaderThatUsed({kMe})).ok());
  EXPECT_THAT(Residual(uplink), testing::Each(0.0f));
}

TEST(UplinkTest, HoldsThePayloadUntilItsOwnStepIsResolved) {
  const auto job = MakeTestJob({.dimension = 64, .codec = "top_k:0.1"});
  Uplink uplink(job);
  ASSERT_TRUE(Encode(&uplink, 4, DyadicGradient(1, 64)).ok());
  const std::string first = uplink.Messages(kMe)[0].SerializeAsString();
  ASSERT_TRUE(uplink.Resolve(3, HeaderThatUsed({})).ok());
  EXPECT_EQ(uplink.held_step(), 4u);
  EXPECT_EQ(uplink.Messages(kMe)[0].SerializeAsString(), first);
  const absl::Status again = Encode(&uplink, 5, DyadicGradient(2, 64));
  EXPECT_EQ(again.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(again.message(), testing::HasSubstr("step 4"));
}

TEST(UplinkTest, AbstainsFromWhatIsNotFiniteAndKeepsTheResidual) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  struct Case {
    const char* name;
    float value;
    const char* says;
  };
  for (const Case& c :
       {Case{"nan", std::nanf(""), "w[290] is nan"}, Case{"inf", kInf, "w[290] is inf"},
        Case{"-inf", -kInf, "w[290] is -inf"}, Case{"overflow", 3e38f, "w[290] is 3e+38"}}) {
    SCOPED_TRACE(c.name);
    const auto job = MakeTestJob({.dimension = 300, .optimizer = "sgd:lr=0.5,momentum=0.9"});
    Uplink uplink(job);
    std::vector<float> gradient = DyadicGradient(1, 300);
    gradient[290] = 3e38f;
    ASSERT_TRUE(Encode(&uplink, 1, gradient).ok());
    ASSERT_TRUE(uplink.Resolve(1, HeaderThatUsed({})).ok());  // all of it is residual now
    const std::vector<float> before = Residual(uplink);
    gradient[290] = c.value;
    ASSERT_TRUE(Encode(&uplink, 2, gradient).ok());
    ASSERT_EQ(uplink.Messages(kMe).size(), 1u);
    const v1::Gradient& message = uplink.Messages(kMe)[0].gradient();
    EXPECT_TRUE(uplink.abstained());
    EXPECT_TRUE(message.end().abstained());
    EXPECT_THAT(message.end().abstain_reason(), testing::HasSubstr(c.says));
    EXPECT_EQ(message.blocks_size(), 0);
    ASSERT_TRUE(uplink.Resolve(2, HeaderThatUsed({})).ok());
    EXPECT_EQ(Residual(uplink), before);
    EXPECT_FALSE(uplink.abstained());
  }
}

TEST(UplinkTest, AnotherResetIdDropsTheResidual) {
  const auto job = MakeTestJob({.dimension = 300, .codec = "random_k:0.1"});
  Uplink uplink(job);
  ASSERT_TRUE(uplink.Resolve(0, HeaderThatUsed({}, 5)).ok());  // the first is no change
  ASSERT_TRUE(Encode(&uplink, 1, DyadicGradient(1, 300)).ok());
  uplink.Messages(kMe);
  ASSERT_TRUE(uplink.Resolve(1, HeaderThatUsed({kMe}, 5)).ok());
  EXPECT_THAT(Residual(uplink), testing::Contains(testing::Ne(0.0f)));
  ASSERT_TRUE(Encode(&uplink, 2, DyadicGradient(2, 300)).ok());
  ASSERT_TRUE(uplink.Resolve(2, HeaderThatUsed({}, 6)).ok());  // nor does its payload return
  EXPECT_THAT(Residual(uplink), testing::Each(0.0f));
  EXPECT_EQ(uplink.held_step(), 0u);
}

TEST(UplinkTest, PacksConsecutiveBlocksUpToTheLimitAndEndsOnTheLast) {
  struct Case {
    const char* codec;
    std::vector<int> blocks_per_message;
  };
  const uint64_t dimension = 3 * kBlockSize + 10;
  for (const Case& c : {Case{"identity", {1, 1, 1, 1}}, Case{"random_k:0.4", {2, 2}},
                        Case{"random_k:0.01", {4}}, Case{"top_k:0.01", {4}}}) {
    SCOPED_TRACE(c.codec);
    const auto job = MakeTestJob({.dimension = dimension, .codec = c.codec});
    Uplink uplink(job);
    ChainHash base = {};
    base.fill('b');
    std::vector<float> gradient = DyadicGradient(1, dimension);
    v1::Evaluation evaluation;
    evaluation.set_version(9);
    ASSERT_TRUE(uplink
                    .Encode({.step = 10,
                             .learning_rate = kLearningRate,
                             .base_chain_hash = base,
                             .replica_hash = 77},
                            absl::MakeSpan(gradient),
                            {.loss = 0.25, .samples = 64, .evaluation = evaluation})
                    .ok());
    const auto messages = uplink.Messages(kMe);
    ASSERT_EQ(messages.size(), c.blocks_per_message.size());
    uint32_t block = 0;
    for (size_t m = 0; m < messages.size(); ++m) {
      const v1::Gradient& message = messages[m].gradient();
      EXPECT_EQ(message.step(), 10u);
      EXPECT_EQ(message.codec(), job->plans[0].codec->id());
      EXPECT_EQ(message.base_chain_hash(), std::string(16, 'b'));
      EXPECT_EQ(message.blocks_size(), c.blocks_per_message[m]);
      EXPECT_LE(messages[m].ByteSizeLong(), kMaxMessageBytes);
      for (const v1::BlockPayload& payload : message.blocks()) EXPECT_EQ(payload.block(), block++);
      EXPECT_EQ(message.has_end(), m + 1 == messages.size());
    }
    const v1::GradientEnd& end = messages.back().gradient().end();
    EXPECT_EQ(end.loss(), 0.25);
    EXPECT_EQ(end.samples(), 64u);
    EXPECT_TRUE(end.has_replica_hash());
    EXPECT_EQ(end.replica_hash(), 77u);
    EXPECT_EQ(end.evaluation().version(), 9u);
  }
}

TEST(UplinkTest, DrawsNoiseOnlyForCodecsThatLookAtValues) {
  struct Case {
    const char* codec;
    bool noise;
  };
  for (const Case& c : {Case{"top_k:0.1", true}, Case{"random_k:0.1", false}}) {
    SCOPED_TRACE(c.codec);
    const auto job =
        MakeTestJob({.dimension = 300, .codec = c.codec, .perturbation = "gaussian:std=0.25"});
    std::vector<float> noise(300, 0.0f);
    if (c.noise) {
      AddNormals(KeyOf(*job, 1, 0), Purpose::kPerturbation, 0.25f, absl::MakeSpan(noise));
    }
    Uplink uplink(job);
    ASSERT_TRUE(Encode(&uplink, 1, std::vector<float>(300, 0.0f)).ok());
    const std::vector<double> sent = Decoded(*job, &uplink);
    for (size_t i = 0; i < 300; ++i) {
      ASSERT_EQ(sent[i] + ResidualAt(uplink, i), kLearningRate * noise[i]) << "coordinate " << i;
    }
  }
}

TEST(UplinkTest, RefusesAGradientOfAnotherLength) {
  Uplink uplink(MakeTestJob({}));
  const absl::Status status = Encode(&uplink, 1, std::vector<float>(7));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), testing::AllOf(testing::HasSubstr("7"), testing::HasSubstr("8")));
  EXPECT_EQ(uplink.held_step(), 0u);
}

TEST(UplinkTest, ReplicaHashIsDueAtEveryVersionDivisibleByHashEvery) {
  const auto job = MakeTestJob({.hash_every = 10});
  for (const auto& [step, due] : std::vector<std::pair<uint64_t, bool>>{
           {1, true}, {2, false}, {10, false}, {11, true}, {12, false}, {21, true}}) {
    EXPECT_EQ(ReplicaHashDue(*job, step), due) << "step " << step;
  }
}

}  // namespace
}  // namespace gradwire
