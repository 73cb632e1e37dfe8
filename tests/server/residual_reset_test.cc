// SPDX-License-Identifier: Apache-2.0
// When residuals are given up: after so many steps, or at a distance that is kept coordinate by
// coordinate and must be the one that a whole pass finds.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "server/reset_rule.h"
#include "tests/server/real_cluster.h"

namespace gradwire {
namespace {

constexpr size_t kDimension = 200;

double SquaredDistanceOf(absl::Span<const float> x, absl::Span<const float> y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += std::pow(double{x[i]} - double{y[i]}, 2);
  return sum;
}

TEST(DisplacementTest, SparseStepsKeepTheDistanceOfAWholePass) {
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(1000, 1.0f);
  const std::vector<float> reference = x;
  Displacement displacement;
  displacement.Start(x);
  EXPECT_EQ(displacement.squared(), 0);
  for (int step = 0; step < 2000; ++step) {
    Touched touched = {.all = step % 50 == 7};
    if (!touched.all) {
      for (size_t i = random() % 100; i < x.size(); i += 100) touched.coordinates.push_back(i);
    }
    displacement.Leave(x, touched);
    for (size_t i = 0; i < x.size(); ++i) {
      if (touched.all) x[i] += 0.1f * normal(random);
    }
    for (const size_t i : touched.coordinates) x[i] += normal(random);
    displacement.Arrive(x, touched);
    const double want = SquaredDistanceOf(x, reference);
    ASSERT_NEAR(displacement.squared(), want, 1e-12 * want) << step;
  }
  displacement.Start(x);
  EXPECT_EQ(displacement.squared(), 0);
}

// The rule decides on the parameters before the update whose header it writes, and measures anew
// from those after it.
TEST(ResetRuleTest, TheResetByDistanceComesExactlyWhenTheParametersAreSoFar) {
  struct Case {
    const char* name;
    const char* job;
    int least;  // resets in 200 steps
  };
  const Case cases[] = {
      {"sparse", "codec: 'random_k:0.1' reset: 'reset:radius=2'", 10},
      {"sparse, with a limit of steps", "codec: 'random_k:0.1' reset: 'reset:radius=2,steps=12'",
       12},
      {"sparse, flushes", "codec: 'random_k:0.1' reset: 'flush:radius=2'", 10},
      {"the union", "codec: 'top_k:0.1' downlink: 'aggregate' reset: 'reset:radius=2'", 10},
      {"momentum",
       "codec: 'random_k:0.1' optimizer: 'sgd:lr=0.1,momentum=0.5' "
       "reset: 'reset:radius=2'",
       10},
      {"compressed down", "codec: 'top_k:0.1' reset: 'reset:radius=2'", 10},
      {"EF21", "codec: 'top_k:0.1' error_feedback: 'ef21' reset: 'reset:radius=2'", 10},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    RealCluster cluster(absl::StrCat("model { tensors { tensor { name: 'w' shape: ", kDimension,
                                     " } } } steps: 1000 membership { workers: 3 } ", c.job),
                        3);
    const ResidualReset& rule = cluster.job().reset;
    std::vector<float> reference(kDimension, 0.0f);
    uint64_t last = 0;
    int count = 0;
    for (uint64_t step = 1; step <= 200; ++step) {
      const double squared = SquaredDistanceOf(cluster.replica().parameters(), reference);
      const bool due =
          squared >= rule.radius * rule.radius || (rule.steps > 0 && step - last >= rule.steps);
      const uint64_t reset_id = cluster.header().reset_id();
      cluster.Step([](size_t w, uint64_t s) { return NormalGradient(kDimension, w, s); });
      const bool reset = cluster.header().reset_id() != reset_id;
      const bool flush = cluster.header().next_flush();
      ASSERT_EQ(reset || flush, due) << step << ", at a distance of " << std::sqrt(squared);
      ASSERT_EQ(flush, due && rule.action == ResidualReset::Action::kFlush);
      if (!due) continue;
      ++count;
      last = step;
      reference.assign(cluster.replica().parameters().begin(),
                       cluster.replica().parameters().end());
    }
    EXPECT_GE(count, c.least);
    EXPECT_LT(count, 150);
  }
}

}  // namespace
}  // namespace gradwire
