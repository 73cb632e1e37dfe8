// SPDX-License-Identifier: Apache-2.0
// Error feedback from the workers' memories through the server to every replica: nothing is lost,
// also where the way down is compressed again, and when residuals are flushed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/optimizer/learning_rate.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/real_cluster.h"

namespace gradwire {
namespace {

using testing::Contains;
using testing::Each;
using testing::Ne;

constexpr size_t kDimension = 200;

std::string JobOf(const std::string& rest, size_t workers = 3, size_t dimension = kDimension) {
  return absl::StrCat("model { tensors { tensor { name: 'w' shape: ", dimension,
                      " } } } membership { workers: ", workers, " } ",
                      rest.find("steps:") == std::string::npos ? "steps: 1000 " : "", rest);
}

std::vector<float> Gradient(size_t worker, uint64_t step) {
  return NormalGradient(kDimension, worker, step);
}

// What all gradients so far would have moved the parameters by, without compression: the sum over
// steps of the rate times the mean gradient.
std::vector<double> Given(const Job& job, size_t workers, uint64_t steps) {
  std::vector<double> given(kDimension, 0.0);
  for (uint64_t step = 1; step <= steps; ++step) {
    const double rate = LearningRateAt(job, step);
    for (size_t w = 0; w < workers; ++w) {
      const std::vector<float> gradient = Gradient(w, step);
      for (size_t i = 0; i < kDimension; ++i) {
        given[i] += rate * gradient[i] / static_cast<double>(workers);
      }
    }
  }
  return given;
}

void ExpectNear(absl::Span<const double> got, absl::Span<const double> want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], tolerance) << i;
}

// minus x plus the mean residual, which is in update units: what was applied and what waits.
std::vector<double> AppliedAndWaiting(const RealCluster& cluster) {
  std::vector<double> sum = cluster.MeanResidual();
  for (size_t i = 0; i < sum.size(); ++i) sum[i] -= double{cluster.replica().parameters()[i]};
  return sum;
}

// Must show 6 of the issue: in update units a change of the rate leaves what waits as it is.
TEST(ClassicFeedbackTest, NothingIsLostWhenTheLearningRateFallsByTen) {
  for (const char* codec : {"random_k:0.1", "random_k:0.05,set=uniform", "top_k:0.1"}) {
    SCOPED_TRACE(codec);
    RealCluster cluster(JobOf(absl::StrCat("codec: '", codec,
                                           "' optimizer: 'sgd:lr=0.5' downlink: 'aggregate' "
                                           "schedule: 'step_decay:at=20,factor=0.1'")),
                        3);
    for (uint64_t step = 1; step <= 60; ++step) {
      cluster.Step(Gradient);
      if (step % 10 != 1) continue;
      SCOPED_TRACE(step);
      EXPECT_EQ(cluster.header().learning_rate(), step <= 20 ? 0.5f : 0.05f);
      ExpectNear(AppliedAndWaiting(cluster), Given(cluster.job(), 3, step), 2e-5);
    }
  }
}

TEST(DoubleSqueezeTest, WhatWentDownAndTheRestIsTheSumOfTheMeans) {
  RealCluster cluster(JobOf("codec: 'top_k:0.05' optimizer: 'sgd:lr=0.5' downlink: 'compressed' "
                            "reset: 'flush:steps=40'"),
                      3);
  cluster.Steps(40, Gradient);
  // k coordinates go down, so much of the three workers' union waits at the server.
  const std::vector<double> given = Given(cluster.job(), 3, 40);
  const std::vector<double> seen = AppliedAndWaiting(cluster);
  double at_server = 0;
  for (size_t i = 0; i < kDimension; ++i) at_server += std::abs(given[i] - seen[i]);
  EXPECT_GT(at_server, 1.0);
  EXPECT_TRUE(cluster.header().next_flush());
  cluster.Step(Gradient);
  // The flush sends both residuals: nothing waits any more, and nothing was lost.
  EXPECT_TRUE(cluster.header().flushed());
  for (const RealWorker& worker : cluster.workers) {
    EXPECT_THAT(worker.uplink->residual(), Each(0.0f));
  }
  ExpectNear(AppliedAndWaiting(cluster), Given(cluster.job(), 3, 41), 3e-5);
}

TEST(DoubleSqueezeTest, TheWayDownIsAsSmallAsTheWayUp) {
  constexpr size_t kSize = 100000;
  const auto gradient = [](size_t worker, uint64_t step) {
    return NormalGradient(kSize, worker, step);
  };
  struct Case {
    const char* downlink;
    double least;
    double most;
  };
  // The union of four workers' coordinates, which hardly meet, against one worker's number.
  for (const Case& c : {Case{"auto", 0.9, 1.2}, Case{"aggregate", 3.0, 4.1}}) {
    SCOPED_TRACE(c.downlink);
    RealCluster cluster(
        JobOf(absl::StrCat("codec: 'top_k:0.01' downlink: '", c.downlink, "'"), 4, kSize), 4);
    for (int i = 0; i < 5; ++i) {
      cluster.Step(gradient);
      const double up = static_cast<double>(cluster.up_bytes) / 4;
      const double ratio = static_cast<double>(cluster.DownBytes()) / up;
      EXPECT_GT(ratio, c.least);
      EXPECT_LT(ratio, c.most);
    }
  }
}

TEST(ResidualResetTest, AResetDropsEveryResidualAfterEachNSteps) {
  RealCluster cluster(JobOf("codec: 'random_k:0.1' reset: 'reset:steps=4'"), 3);
  for (uint64_t step = 1; step <= 13; ++step) {
    SCOPED_TRACE(step);
    cluster.Step(Gradient);
    EXPECT_EQ(cluster.header().reset_id(), step / 4);
    EXPECT_FALSE(cluster.header().flushed());
    const auto residual = cluster.workers[1].uplink->residual();
    if (step % 4 == 0) {
      EXPECT_THAT(residual, Each(0.0f));
    } else {
      EXPECT_THAT(residual, Contains(Ne(0.0f)));
    }
  }
}

TEST(ResidualResetTest, AFlushSendsEveryResidualUncompressedAndLosesNothing) {
  for (const char* codec : {"random_k:0.1", "top_k:0.1", "sign"}) {
    SCOPED_TRACE(codec);
    RealCluster cluster(JobOf(absl::StrCat("codec: '", codec,
                                           "' optimizer: 'sgd:lr=0.5' downlink: 'aggregate' "
                                           "reset: 'flush:steps=5'")),
                        3);
    for (uint64_t step = 1; step <= 17; ++step) {
      SCOPED_TRACE(step);
      const bool flushes = step > 1 && step % 5 == 1;
      EXPECT_EQ(cluster.header().next_flush(), flushes);
      cluster.Step(Gradient);
      EXPECT_EQ(cluster.header().flushed(), flushes);
      EXPECT_EQ(cluster.header().reset_id(), 0U);
      ExpectNear(AppliedAndWaiting(cluster), Given(cluster.job(), 3, step), 2e-5);
      if (!flushes) continue;
      EXPECT_EQ(cluster.up_bytes, 3 * 4 * kDimension);
      EXPECT_EQ(cluster.DownBytes(), 4 * kDimension);
      for (const RealWorker& worker : cluster.workers) {
        EXPECT_THAT(worker.uplink->residual(), Each(0.0f));
      }
      v1::UpdatePart part;
      ASSERT_TRUE(part.ParseFromString(cluster.cluster.newest()->parts[0]));
      EXPECT_EQ(part.codec(), v1::CODEC_IDENTITY);
    }
  }
}

TEST(ResidualResetTest, TheLastStepOrdersNothing) {
  for (const char* reset : {"reset:steps=5", "flush:steps=5"}) {
    RealCluster cluster(JobOf(absl::StrCat("steps: 5 codec: 'top_k:0.1' reset: '", reset, "'")), 3);
    cluster.Steps(5, Gradient);
    EXPECT_TRUE(cluster.header().finished());
    EXPECT_EQ(cluster.header().reset_id(), 0U);
    EXPECT_FALSE(cluster.header().next_flush());
  }
}

// An update that took nothing from its members moves nothing, and nothing is lost with it.
TEST(ResidualResetTest, AFlushThatIsNotUsedComesBackIntoTheResidual) {
  RealCluster cluster(JobOf("codec: 'random_k:0.1' optimizer: 'sgd:lr=0.5' "
                            "reset: 'flush:steps=5'"),
                      3);
  cluster.Steps(5, Gradient);
  ASSERT_TRUE(cluster.header().next_flush());
  cluster.Push(2, Gradient);
  // Lost to the server while the payload is on its way: not a word of it is used.
  RealWorker& lost = cluster.workers[2];
  const std::vector<float> whole = Gradient(2, 6);
  v1::Header header = cluster.header();
  header.clear_used();
  ASSERT_TRUE(lost.uplink->Resolve(6, header).ok());
  EXPECT_THAT(lost.uplink->residual(), Contains(Ne(0.0f)));
}

TEST(MixedCodecsTest, EveryBlockNamesItsCodecBothWays) {
  RealCluster cluster(
      "model { mlp { inputs: 30 hidden: 20 classes: 5 } } steps: 50 membership { workers: 3 } "
      "codec: 'random_k:0.1' tensors { name: '*.bias' codec: 'identity' } "
      "tensors { name: 'layer2.*' codec: 'top_k:0.2,values=bf16' }",
      3);
  const size_t dimension = cluster.job().layout.dimension();
  const auto gradient = [&](size_t worker, uint64_t step) {
    return NormalGradient(dimension, worker, step);
  };
  const std::vector<v1::CodecId> want = {v1::CODEC_RANDOM_K, v1::CODEC_IDENTITY, v1::CODEC_TOP_K,
                                         v1::CODEC_IDENTITY};
  for (int i = 0; i < 3; ++i) cluster.Push(static_cast<size_t>(i), gradient);
  cluster.Follow();
  v1::UpdatePart part;
  ASSERT_TRUE(part.ParseFromString(cluster.cluster.newest()->parts[0]));
  ASSERT_EQ(part.blocks_size(), 4);
  EXPECT_EQ(part.codec(), want[0]);
  EXPECT_EQ(part.blocks(0).codec(), v1::CODEC_UNSPECIFIED);  // that of the message
  for (int b = 1; b < 4; ++b) EXPECT_EQ(part.blocks(b).codec(), want[static_cast<size_t>(b)]) << b;
  cluster.Steps(10, gradient);
  EXPECT_EQ(cluster.replica().version(), 11U);
}

TEST(MixedCodecsTest, TheServerNamesBothCodecsOfABlockThatHasTheWrongOne) {
  RealCluster cluster(
      "model { mlp { inputs: 30 hidden: 20 classes: 5 } } steps: 50 membership { workers: 2 } "
      "codec: 'random_k:0.1' tensors { name: '*.bias' codec: 'identity' }",
      2);
  const size_t dimension = cluster.job().layout.dimension();
  RealWorker& worker = cluster.workers[0];
  std::vector<float> values = NormalGradient(dimension, 0, 1);
  ASSERT_TRUE(
      worker.uplink
          ->Encode(
              {.step = 1, .learning_rate = 0.1f, .base_chain_hash = worker.replica->chain_hash()},
              absl::MakeSpan(values), {})
          .ok());
  v1::Gradient message = worker.uplink->Messages({.rank = 0, .incarnation = 1})[0].gradient();
  message.mutable_blocks(1)->clear_codec();  // now it has the message's
  const absl::Status status = cluster.cluster.Send(worker.at, message);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("block 1: codec 2, but the job's is 1"));
}

// The noise is the same at every worker, on the sphere of radius std sqrt(d), of the same variance
// in every coordinate.
TEST(SphereNoiseTest, HasExactlyItsRadiusAndIsTheSameAtEveryWorker) {
  RealCluster cluster(JobOf("codec: 'identity' optimizer: 'sgd:lr=1' "
                            "perturbation: 'sphere:std=0.5'"),
                      3);
  const auto nothing = [](size_t, uint64_t) { return std::vector<float>(kDimension, 0.0f); };
  std::vector<double> last(kDimension, 0.0);
  std::vector<double> squares(kDimension, 0.0);
  constexpr int kSteps = 400;
  for (int step = 0; step < kSteps; ++step) {
    std::vector<std::string> sent;
    for (size_t w = 0; w < 3; ++w) {
      sent.push_back(cluster.Push(w, nothing)[0].blocks(0).payload());
    }
    EXPECT_EQ(sent[0], sent[1]);
    EXPECT_EQ(sent[0], sent[2]);
    cluster.Follow();
    double norm = 0;
    const std::vector<float> noise = PayloadValues(sent[0]);
    for (size_t i = 0; i < kDimension; ++i) {
      norm += double{noise[i]} * noise[i];
      squares[i] += double{noise[i]} * noise[i];
    }
    ASSERT_NEAR(std::sqrt(norm), 0.5 * std::sqrt(double{kDimension}), 1e-5);
  }
  // A coordinate's square has mean std^2 and, nearly, the variance of a Gaussian's: 2 std^4.
  // Of 200 coordinates the worst is within 4.5 standard errors with probability 0.999.
  for (size_t i = 0; i < kDimension; ++i) {
    EXPECT_NEAR(squares[i] / kSteps, 0.25, 4.5 * 0.25 * std::sqrt(2.0 / kSteps)) << i;
  }
}

}  // namespace
}  // namespace gradwire
