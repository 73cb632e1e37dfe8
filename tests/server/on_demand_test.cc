// SPDX-License-Identifier: Apache-2.0
// The perturbation on demand: uniform in its ball, made only where it is asked for, and its test.
#include "server/on_demand.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/kernels/target.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/real_cluster.h"

namespace gradwire {
namespace {

std::shared_ptr<const Job> OnDemandJob(size_t dimension, const std::string& perturbation,
                                       const std::string& rest = "") {
  return MakeTestJob(absl::StrCat("model { tensors { tensor { name: 'w' shape: ", dimension,
                                  " } } } steps: 1000 perturbation: 'on_demand:", perturbation,
                                  "' ", rest));
}

// What a replica adds for a scale.
std::vector<double> Added(const Job& job, uint64_t step, float scale) {
  std::vector<float> values(job.layout.dimension(), 0.0f);
  AddNormals(job.Key(step, 0), Purpose::kOnDemand, scale, absl::MakeSpan(values));
  return {values.begin(), values.end()};
}

// Kolmogorov-Smirnov distance to the uniform law on [0, 1], times sqrt(n): above 1.95 with p =
// 0.001.
double KsAgainstUniform(std::vector<double> u) {
  std::sort(u.begin(), u.end());
  const double n = static_cast<double>(u.size());
  double distance = 0;
  for (size_t i = 0; i < u.size(); ++i) {
    distance = std::max(
        {distance, u[i] - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - u[i]});
  }
  return distance * std::sqrt(n);
}

TEST(OnDemandTest, ThePerturbationIsUniformInTheBall) {
  constexpr double kRadius = 2.5;
  for (const size_t dimension : {size_t{1}, size_t{2}, size_t{3}, size_t{20}}) {
    SCOPED_TRACE(dimension);
    constexpr uint64_t kDraws = 3000;
    const auto job = OnDemandJob(dimension, "radius=2.5,threshold=1,wait=1");
    OnDemand rule(job);
    std::vector<double> volumes;
    std::vector<double> sum(dimension, 0.0);
    double squares_of_first = 0;
    for (uint64_t step = 1; step <= kDraws; ++step) {
      const float scale = rule.Decide(step, 0, {});
      double squares = 0;
      const std::vector<double> added = Added(*job, step, scale);
      for (size_t i = 0; i < dimension; ++i) {
        squares += added[i] * added[i];
        sum[i] += added[i];
      }
      squares_of_first += added[0] * added[0];
      ASSERT_LE(std::sqrt(squares), kRadius * 1.000001);
      volumes.push_back(std::pow(std::sqrt(squares) / kRadius, static_cast<double>(dimension)));
    }
    EXPECT_EQ(rule.counts().made, kDraws);
    EXPECT_LT(KsAgainstUniform(volumes), 1.95);  // the part of the ball that is nearer
    // A coordinate has mean 0 and variance R^2 / (d + 2).
    const double n = static_cast<double>(kDraws);
    const double variance = kRadius * kRadius / static_cast<double>(dimension + 2);
    for (const double s : sum) EXPECT_LT(std::abs(s), 4.5 * std::sqrt(n * variance));
    EXPECT_NEAR(squares_of_first / n, variance, 5 * variance * std::sqrt(2 / n));
  }
}

TEST(OnDemandTest, ComesAtTheThresholdAndNotBeforeTheWaitIsOver) {
  struct Step {
    uint64_t step;
    double norm;
    bool made;
  };
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const Step steps[] = {
      {1, 1.01, false}, {2, kInf, false}, {3, 1.0, true},   {4, 0.0, false}, {12, 0.5, false},
      {13, 1.5, false}, {14, 0.5, true},  {23, 0.5, false}, {24, 0.5, true},
  };
  const auto job = OnDemandJob(5, "radius=1,threshold=1,wait=10");
  OnDemand rule(job);
  uint64_t made = 0;
  for (const Step& s : steps) {
    SCOPED_TRACE(s.step);
    EXPECT_EQ(rule.Decide(s.step, s.norm, {}) != 0, s.made);
    made += s.made ? 1 : 0;
  }
  EXPECT_EQ(rule.counts().made, made);
  EXPECT_EQ(rule.counts().escaped + rule.counts().stayed, 0U);  // no test was asked for
}

TEST(OnDemandTest, TheTestTellsWhatLeftFromWhatStayed) {
  const auto job = OnDemandJob(2, "radius=1,threshold=1,wait=10,escape=5");
  OnDemand rule(job);
  const auto at = [&](uint64_t step, double norm, float x) {
    const std::vector<float> parameters = {x, 0};
    return rule.Decide(step, norm, parameters);
  };
  EXPECT_NE(at(1, 0, 0), 0);
  at(2, 9, 4.99f);
  EXPECT_EQ(rule.counts().escaped, 0U);
  at(7, 9, -5.0f);  // exactly so far
  EXPECT_EQ(rule.counts().escaped, 1U);
  at(8, 9, 0.0f);  // the test is over
  at(30, 9, 0.0f);
  EXPECT_EQ(rule.counts().stayed, 0U);
  EXPECT_NE(at(40, 0, 100.0f), 0);
  at(49, 9, 104.0f);
  EXPECT_EQ(rule.counts().stayed, 0U);
  EXPECT_NE(at(50, 0, 104.9f), 0);  // the verdict, and the next perturbation
  EXPECT_EQ(rule.counts().stayed, 1U);
  EXPECT_EQ(rule.counts().escaped, 1U);
  EXPECT_EQ(rule.counts().made, 3U);
}

TEST(OnDemandTest, AJobWithAnotherPerturbationNeverMakesOne) {
  const auto job = MakeTestJob(
      "model { tensors { tensor { name: 'w' shape: 5 } } } steps: 9 perturbation: 'sphere:1'");
  OnDemand rule(job);
  EXPECT_FALSE(rule.active());
  EXPECT_EQ(rule.Decide(1, 0, {}), 0);
}

// At a minimum nothing moves but by the perturbations; each is within its ball.
TEST(OnDemandTest, ReplicasAddItToTheParametersWithTheSameBitsUnderEveryTarget) {
  constexpr size_t kSize = 1003;
  RealCluster cluster(
      absl::StrCat("model { tensors { tensor { name: 'w' shape: ", kSize,
                   " } } } steps: 1000 membership { workers: 2 } ", "codec: 'random_k:0.1' ",
                   "perturbation: 'on_demand:radius=3,threshold=0.5,wait=4'"),
      2);
  int made = 0;
  for (uint64_t step = 1; step <= 20; ++step) {
    const std::vector<float> before(cluster.replica().parameters().begin(),
                                    cluster.replica().parameters().end());
    cluster.Step([](size_t, uint64_t) { return std::vector<float>(kSize, 0.0f); });
    double squares = 0;
    for (size_t i = 0; i < kSize; ++i) {
      squares += std::pow(double{cluster.replica().parameters()[i]} - double{before[i]}, 2);
    }
    const bool due = step % 4 == 1;
    EXPECT_EQ(cluster.header().perturbation_scale() != 0, due) << step;
    EXPECT_LE(std::sqrt(squares), 3.00001);
    EXPECT_EQ(squares > 1, due) << step;  // of 1003 dimensions nearly all is at the surface
    made += due ? 1 : 0;
  }
  EXPECT_EQ(made, 5);
  for (const std::string& target : KernelTargets()) {
    ASSERT_TRUE(SetKernelTarget(target).ok());
    Replica replica(cluster.cluster.job);
    for (uint64_t v = 0; v <= 20; ++v) {
      ASSERT_TRUE(replica.Apply(*cluster.cluster.coordinator->log().Find(v)).ok());
    }
    EXPECT_EQ(replica.Hash(), cluster.replica().Hash()) << target;
  }
  ASSERT_TRUE(SetKernelTarget("auto").ok());
}

TEST(OnDemandTest, ALargeGradientIsNotPerturbedWhateverTheLearningRate) {
  // Payloads are in update units: 0.001 times a gradient of norm 5.
  for (const char* schedule : {"constant", "linear_warmup:1000", "cosine:steps=10"}) {
    SCOPED_TRACE(schedule);
    RealCluster cluster(absl::StrCat("model { tensors { tensor { name: 'w' shape: 25 } } } ",
                                     "steps: 30 optimizer: 'sgd:lr=0.001' schedule: '", schedule,
                                     "' perturbation: 'on_demand:radius=3,threshold=1,wait=1'"),
                        1);
    for (int step = 0; step < 30; ++step) {
      cluster.Step([](size_t, uint64_t) { return std::vector<float>(25, 1.0f); });
      EXPECT_EQ(cluster.header().perturbation_scale(), 0)
          << "rate " << cluster.header().learning_rate();
    }
  }
}

}  // namespace
}  // namespace gradwire
