// SPDX-License-Identifier: Apache-2.0
// The law of noise that is drawn late: that of noise drawn every step, residual and all.
#include "server/lazy_noise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

constexpr size_t kDimension = 500;

std::shared_ptr<const Job> NoisyJob(const std::string& rest) {
  return MakeTestJob(absl::StrCat("model { tensors { tensor { name: 'w' shape: ", kDimension,
                                  " } } } steps: 100000 seed: 5 ", rest));
}

// What the codec's mean is when every payload is zero: the coordinates of the step.
BlockValues ZeroMean(const Job& job, const BlockKey& key) {
  std::vector<float> zeros(key.size, 0.0f);
  std::string payload;
  job.plans[0].codec->Encode(key, absl::MakeSpan(zeros), &payload);
  Accumulator sum;
  EXPECT_TRUE(job.plans[0].codec->Accumulate(key, payload, &sum).ok());
  BlockValues mean;
  job.plans[0].codec->Mean(key, sum, &mean);
  return mean;
}

struct Draw {
  size_t coordinate;
  double age;    // V_t - V_(last time sent), by the closed form
  double value;  // the noise it got
};

// Every draw of `steps` steps; `variance_of` gives a step's noise variance in payload units.
template <typename VarianceOf>
std::vector<Draw> Draws(const Job& job, uint64_t steps, VarianceOf variance_of) {
  LazyNoise noise(std::shared_ptr<const Job>(&job, [](const Job*) {}));
  std::vector<double> gathered(kDimension, 0.0);
  std::vector<Draw> draws;
  for (uint64_t step = 1; step <= steps; ++step) {
    const BlockKey key = {.seed = job.config.seed(), .step = step, .block = 0, .size = kDimension};
    BlockValues mean = ZeroMean(job, key);
    noise.BeginStep(LearningRateAt(job, step));
    noise.AddTo(key, 0, &mean);
    for (double& g : gathered) g += variance_of(step);
    for (size_t i = 0; i < mean.values.size(); ++i) {
      const size_t coordinate = mean.dense ? i : mean.indices[i];
      draws.push_back({coordinate, gathered[coordinate], static_cast<double>(mean.values[i])});
      gathered[coordinate] = 0;
    }
  }
  return draws;
}

double NormalCdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

// Kolmogorov-Smirnov distance to the standard normal, times sqrt(n): above 1.95 with p = 0.001.
double KsAgainstNormal(std::vector<double> z) {
  std::sort(z.begin(), z.end());
  const double n = static_cast<double>(z.size());
  double distance = 0;
  for (size_t i = 0; i < z.size(); ++i) {
    const double cdf = NormalCdf(z[i]);
    distance = std::max(
        {distance, cdf - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - cdf});
  }
  return distance * std::sqrt(n);
}

double KsOfTwo(std::vector<double> a, std::vector<double> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  const double n = static_cast<double>(a.size());
  const double m = static_cast<double>(b.size());
  double distance = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    a[i] <= b[j] ? ++i : ++j;
    distance =
        std::max(distance, std::abs(static_cast<double>(i) / n - static_cast<double>(j) / m));
  }
  return distance * std::sqrt(n * m / (n + m));
}

TEST(LazyNoiseTest, ADrawHasTheVarianceGatheredSinceItsCoordinateWasLastSent) {
  struct Case {
    const char* name;
    const char* job;
    double factor;  // of sigma at step 1..300; half of that learning rate later
    bool follows_rate;
  };
  const Case cases[] = {
      {.name = "plain sgd: (lr sigma)^2 of each step",
       .job = "codec: 'random_k:0.1' optimizer: 'sgd:lr=0.2' perturbation: 'gaussian:std=0.5' "
              "schedule: 'step_decay:at=300,factor=0.5'",
       .factor = 0.2 * 0.5,
       .follows_rate = true},
      {.name = "momentum: sigma^2 of each step",
       .job = "codec: 'random_k:0.1' optimizer: 'sgd:lr=0.2,momentum=0.9' "
              "perturbation: 'gaussian:std=0.5' schedule: 'step_decay:at=300,factor=0.5'",
       .factor = 0.5,
       .follows_rate = false},
      {.name = "identity: every coordinate every step",
       .job = "codec: 'identity' optimizer: 'sgd:lr=0.2' perturbation: 'gaussian:std=0.5' "
              "schedule: 'step_decay:at=300,factor=0.5'",
       .factor = 0.2 * 0.5,
       .follows_rate = true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto job = NoisyJob(c.job);
    const auto variance = [&](uint64_t step) {
      const double std = c.follows_rate && step > 300 ? c.factor / 2 : c.factor;
      return std * std;
    };
    const std::vector<Draw> draws = Draws(*job, 600, variance);
    std::vector<double> z;
    double chi_square = 0;
    for (const Draw& draw : draws) {
      z.push_back(draw.value / std::sqrt(draw.age));
      chi_square += z.back() * z.back();
    }
    const double n = static_cast<double>(z.size());
    ASSERT_GE(n, 30000);
    EXPECT_LT(std::abs(chi_square - n), 4 * std::sqrt(2 * n));
    EXPECT_LT(KsAgainstNormal(z), 1.95);
  }
}

TEST(LazyNoiseTest, SuccessiveDrawsOfACoordinateAreUncorrelated) {
  const auto job =
      NoisyJob("codec: 'random_k:0.1' optimizer: 'sgd:lr=1' perturbation: 'gaussian:std=1'");
  std::vector<double> last(kDimension, 0.0);
  double product = 0;
  double pairs = 0;
  for (const Draw& draw : Draws(*job, 600, [](uint64_t) { return 1.0; })) {
    const double z = draw.value / std::sqrt(draw.age);
    if (last[draw.coordinate] != 0) {
      product += z * last[draw.coordinate];
      pairs += 1;
    }
    last[draw.coordinate] = z;
  }
  EXPECT_LT(std::abs(product), 4 * std::sqrt(pairs));
}

// The other way to do it: every coordinate of a residual gets noise every step, and what is
// sent leaves it.
TEST(LazyNoiseTest, WhatIsSentHasTheLawOfEagerNoiseBehindAResidual) {
  for (const char* set : {"stratified", "uniform", "strided"}) {
    SCOPED_TRACE(set);
    const auto job = NoisyJob(absl::StrCat("codec: 'random_k:0.02,set=", set,
                                           "' optimizer: 'sgd:lr=0.5' perturbation: "
                                           "'gaussian:std=2'"));
    std::mt19937_64 random(11);
    std::normal_distribution<double> normal;
    std::vector<double> residual(kDimension, 0.0);
    std::vector<double> eager;
    std::vector<double> lazy;
    for (uint64_t step = 1; step <= 1000; ++step) {
      for (double& r : residual) r += 0.5 * 2 * normal(random);
      const BlockKey key = {.seed = 5, .step = step, .block = 0, .size = kDimension};
      for (const uint32_t i : ZeroMean(*job, key).indices) {
        eager.push_back(residual[i]);
        residual[i] = 0;
      }
    }
    for (const Draw& draw : Draws(*job, 1000, [](uint64_t) { return 1.0; })) {
      lazy.push_back(draw.value);
    }
    ASSERT_EQ(eager.size(), lazy.size());
    EXPECT_LT(KsOfTwo(eager, lazy), 1.95);
  }
}

TEST(LazyNoiseTest, WithoutAPerturbationOfItsOwnNothingIsTouched) {
  const char* jobs[] = {
      "codec: 'random_k:0.1'",
      "codec: 'top_k:0.1' perturbation: 'gaussian:std=1'",  // drawn at the workers
  };
  for (const char* text : jobs) {
    SCOPED_TRACE(text);
    const auto job = NoisyJob(text);
    LazyNoise noise(job);
    EXPECT_FALSE(noise.active());
    const BlockKey key = {.seed = 5, .step = 1, .block = 0, .size = kDimension};
    BlockValues mean = ZeroMean(*job, key);
    std::fill(mean.values.begin(), mean.values.end(), -0.0f);
    noise.BeginStep(0.1f);
    noise.AddTo(key, 0, &mean);
    for (const float value : mean.values) {
      EXPECT_EQ(value, 0.0f);
      EXPECT_TRUE(std::signbit(value));
    }
  }
}

// With a residual that is dropped goes the noise in it: what was gathered before counts no more.
TEST(LazyNoiseTest, AResetForgetsWhatWasGathered) {
  const auto job =
      NoisyJob("codec: 'random_k:0.1' optimizer: 'sgd:lr=1' perturbation: 'gaussian:std=1'");
  LazyNoise noise(job);
  std::vector<double> gathered(kDimension, 0.0);
  double chi_square = 0;
  double n = 0;
  for (uint64_t step = 1; step <= 600; ++step) {
    const BlockKey key = {.seed = 5, .step = step, .block = 0, .size = kDimension};
    BlockValues mean = ZeroMean(*job, key);
    noise.BeginStep(1);
    noise.AddTo(key, 0, &mean);
    for (double& g : gathered) g += 1;
    for (size_t i = 0; i < mean.values.size(); ++i) {
      double& age = gathered[mean.indices[i]];
      chi_square += std::pow(double{mean.values[i]}, 2) / age;
      n += 1;
      age = 0;
    }
    if (step % 3 != 0) continue;
    noise.Forget();
    std::fill(gathered.begin(), gathered.end(), 0.0);
  }
  // Without the reset ages would be 10 in the mean, here they are 2.
  EXPECT_LT(std::abs(chi_square - n), 4 * std::sqrt(2 * n));
}

// A flush is dense: every coordinate gets what it has gathered, and nothing is left.
TEST(LazyNoiseTest, AFlushDrawsForEveryCoordinate) {
  const auto job =
      NoisyJob("codec: 'random_k:0.1' optimizer: 'sgd:lr=1' perturbation: 'gaussian:std=1'");
  LazyNoise noise(job);
  std::vector<double> gathered(kDimension, 0.0);
  for (uint64_t step = 1; step <= 20; ++step) {
    const BlockKey key = {.seed = 5, .step = step, .block = 0, .size = kDimension};
    BlockValues mean = ZeroMean(*job, key);
    noise.BeginStep(1);
    noise.AddTo(key, 0, &mean);
    for (double& g : gathered) g += 1;
    for (const uint32_t index : mean.indices) gathered[index] = 0;
  }
  const BlockKey key = {.seed = 5, .step = 21, .block = 0, .size = kDimension};
  BlockValues all = {.dense = true, .indices = {}, .values = std::vector<float>(kDimension, 0.0f)};
  noise.BeginStep(1);
  noise.AddTo(key, 0, &all);
  double chi_square = 0;
  for (size_t i = 0; i < kDimension; ++i) {
    chi_square += std::pow(double{all.values[i]}, 2) / (gathered[i] + 1);
  }
  EXPECT_LT(std::abs(chi_square - kDimension), 4 * std::sqrt(2.0 * kDimension));
  std::vector<float> none(kDimension, 0.0f);
  BlockValues again = {.dense = true, .indices = {}, .values = none};
  noise.AddTo(key, 0, &again);  // no step between: nothing has gathered
  EXPECT_EQ(again.values, none);
}

TEST(LazyNoiseTest, IsAFunctionOfSeedStepAndBlock) {
  const auto job =
      NoisyJob("codec: 'random_k:0.1' optimizer: 'sgd:lr=1' perturbation: 'gaussian:std=1'");
  const auto one = [](uint64_t) { return 1.0; };
  const auto first = Draws(*job, 50, one);
  const auto second = Draws(*job, 50, one);
  ASSERT_EQ(first.size(), second.size());
  for (size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i].value, second[i].value);
}

}  // namespace
}  // namespace gradwire
