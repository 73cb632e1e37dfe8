// SPDX-License-Identifier: Apache-2.0
// Error feedback from the workers' memories through the server to every replica: nothing is lost,
// and EF21, DoubleSqueeze, resets and flushes do what their recursions say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

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

// EF21, written down once more: h_i += TopK(v_i - h_i); x -= rate * mean(h).
class Ef21Reference {
 public:
  Ef21Reference(size_t workers, size_t k, float beta)
      : k_(k), beta_(beta), h_(workers, std::vector<float>(kDimension, 0.0f)), v_(h_) {}

  void Forget() {
    for (auto* vectors : {&h_, &v_}) {
      for (auto& vector : *vectors) std::fill(vector.begin(), vector.end(), 0.0f);
    }
    fresh_ = true;
  }

  void Step(uint64_t step, double rate) {
    const float beta = fresh_ ? 1.0f : beta_;
    for (size_t w = 0; w < h_.size(); ++w) {
      const std::vector<float> gradient = Gradient(w, step);
      std::vector<float> difference(kDimension);
      for (size_t i = 0; i < kDimension; ++i) {
        v_[w][i] = (1 - beta) * v_[w][i] + beta * gradient[i];
        difference[i] = v_[w][i] - h_[w][i];
      }
      std::vector<size_t> order(kDimension);
      std::iota(order.begin(), order.end(), size_t{0});
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return std::abs(difference[a]) > std::abs(difference[b]);
      });
      for (size_t j = 0; j < k_; ++j) h_[w][order[j]] += difference[order[j]];
    }
    for (size_t i = 0; i < kDimension; ++i) x[i] -= rate * MeanAt(i);
    fresh_ = false;
  }

  double MeanAt(size_t i) const {
    double sum = 0;
    for (const auto& h : h_) sum += h[i];
    return sum / static_cast<double>(h_.size());
  }
  const std::vector<float>& h(size_t worker) const { return h_[worker]; }

  std::vector<double> x = std::vector<double>(kDimension, 0.0);

 private:
  const size_t k_;
  const float beta_;
  bool fresh_ = true;
  std::vector<std::vector<float>> h_;
  std::vector<std::vector<float>> v_;
};

TEST(Ef21Test, WorkersServerAndReplicasFollowTheRecursion) {
  struct Case {
    const char* feedback;
    float beta;
    const char* reset;
    uint64_t forgets_every;  // 0: never
  };
  const Case cases[] = {{"ef21", 1.0f, "none", 0},
                        {"ef21_sgdm:beta=0.25", 0.25f, "none", 0},
                        {"ef21_sgdm:beta=0.25", 0.25f, "reset:steps=7", 7}};
  for (const Case& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.feedback, " ", c.reset));
    RealCluster cluster(
        JobOf(absl::StrCat("codec: 'top_k:0.1' optimizer: 'sgd:lr=0.5' ", "error_feedback: '",
                           c.feedback, "' reset: '", c.reset, "'")),
        3);
    Ef21Reference reference(3, 20, c.beta);
    for (uint64_t step = 1; step <= 20; ++step) {
      SCOPED_TRACE(step);
      cluster.Step(Gradient);
      reference.Step(step, 0.5);
      for (size_t i = 0; i < kDimension; ++i) {
        ASSERT_NEAR(cluster.replica().parameters()[i], reference.x[i], 2e-5) << i;
      }
      if (c.forgets_every > 0 && step % c.forgets_every == 0) reference.Forget();
      for (size_t w = 0; w < 3; ++w) {
        ASSERT_THAT(cluster.workers[w].uplink->residual(),
                    testing::ElementsAreArray(reference.h(w)));
      }
      for (size_t i = 0; i < kDimension; ++i) {
        ASSERT_NEAR(cluster.replica().state().back()[i], reference.MeanAt(i), 2e-5) << i;
      }
    }
  }
}

// After one more step everything is as at the job's start: the mean is that of C(g).
void ExpectBeganAnew(RealCluster* cluster, uint64_t old_reset_id) {
  EXPECT_NE(cluster->header().reset_id(), old_reset_id);
  EXPECT_THAT(cluster->replica().state().back(), Each(0.0f));
  std::vector<size_t> here;
  for (size_t w = 0; w < cluster->workers.size(); ++w) {
    if (cluster->workers[w].gone) continue;
    here.push_back(w);
    EXPECT_THAT(cluster->workers[w].uplink->residual(), Each(0.0f)) << w;
  }
  const uint64_t reset_id = cluster->header().reset_id();
  cluster->Step(Gradient);
  ASSERT_EQ(static_cast<size_t>(cluster->header().used_size()), here.size());
  EXPECT_EQ(cluster->header().reset_id(), reset_id) << "one reset is enough";
  std::vector<double> mean(kDimension, 0.0);
  for (const size_t w : here) {
    for (size_t i = 0; i < kDimension; ++i) {
      mean[i] +=
          double{cluster->workers[w].uplink->residual()[i]} / static_cast<double>(here.size());
    }
  }
  for (size_t i = 0; i < kDimension; ++i) {
    ASSERT_NEAR(cluster->replica().state().back()[i], mean[i], 1e-6) << i;
  }
}

constexpr char kEf21[] = "codec: 'top_k:0.1' optimizer: 'sgd:lr=0.5' error_feedback: 'ef21'";

TEST(Ef21Test, AMemberThatLeavesAfterItsPayloadMakesAllBeginAnew) {
  RealCluster cluster(JobOf(kEf21), 3);
  cluster.Steps(5, Gradient);
  const uint64_t before = cluster.header().reset_id();
  cluster.Push(2, Gradient);
  cluster.Leave(2);
  cluster.Push(0, Gradient);
  cluster.Push(1, Gradient);
  cluster.Follow();
  EXPECT_EQ(cluster.header().used_size(), 3);
  ExpectBeganAnew(&cluster, before);
}

TEST(Ef21Test, AMemberThatLeavesBeforeItsPayloadMakesAllBeginAnew) {
  RealCluster cluster(JobOf(kEf21), 3);
  cluster.Steps(5, Gradient);
  const uint64_t before = cluster.header().reset_id();
  cluster.Push(0, Gradient);
  cluster.Leave(2);
  cluster.Push(1, Gradient);
  cluster.Follow();
  EXPECT_EQ(cluster.header().used_size(), 2);
  ExpectBeganAnew(&cluster, before);
}

TEST(Ef21Test, ANewcomerMakesAllBeginAnew) {
  RealCluster cluster(JobOf(kEf21, 2), 2);
  cluster.Steps(5, Gradient);
  const uint64_t before = cluster.header().reset_id();
  cluster.Enter("late");
  cluster.Step(Gradient);
  EXPECT_EQ(cluster.header().members_size(), 3);
  ExpectBeganAnew(&cluster, before);
}

TEST(Ef21Test, AMemberThatAbstainsMakesAllBeginAnew) {
  RealCluster cluster(JobOf(kEf21), 3);
  cluster.Steps(5, Gradient);
  const uint64_t before = cluster.header().reset_id();
  cluster.Step([](size_t worker, uint64_t step) {
    std::vector<float> gradient = Gradient(worker, step);
    if (worker == 1) gradient[7] = std::nanf("");
    return gradient;
  });
  EXPECT_EQ(cluster.header().used_size(), 2);
  ExpectBeganAnew(&cluster, before);
}

TEST(Ef21Test, AMemberWithFreshMemoryMakesAllBeginAnew) {
  RealCluster cluster(JobOf(kEf21), 3);
  cluster.Steps(5, Gradient);
  const uint64_t before = cluster.header().reset_id();
  // As after a snapshot and the record that follows it.
  cluster.workers[1].uplink->Reset();
  ASSERT_TRUE(cluster.workers[1].uplink->Resolve(5, cluster.header()).ok());
  cluster.Step(Gradient);
  EXPECT_EQ(cluster.header().used_size(), 3);
  ExpectBeganAnew(&cluster, before);
}

TEST(Ef21Test, ASteadyJobNeverBeginsAnew) {
  RealCluster cluster(JobOf(kEf21), 3);
  cluster.Steps(30, Gradient);
  EXPECT_EQ(cluster.header().reset_id(), 0U);
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
