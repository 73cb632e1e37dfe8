// SPDX-License-Identifier: Apache-2.0
// sgld's drift is half a gradient step, exactly; its noise has the learning rate for
// variance, and is a function of (seed, step, block).
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "common/random/gaussian.h"
#include "tests/common/optimizer/training.h"

namespace gradwire {
namespace {

constexpr size_t kSize = 100000;
constexpr BlockKey kKey = {.seed = 7, .step = 11, .block = 3, .size = kSize};

std::vector<float> After(const char* spec, float rate, const BlockKey& key, float parameter,
                         float gradient) {
  Training training(spec, std::vector<float>(key.size, parameter));
  training.Step(rate,
                {.dense = true, .indices = {}, .values = std::vector<float>(key.size, gradient)},
                Units::kGradient, key);
  return training.parameters();
}

TEST(SgldTest, NoiseHasTheLearningRateForVariance) {
  constexpr double kRate = 0.04;
  double sum = 0;
  double squares = 0;
  double fourths = 0;
  double neighbours = 0;
  const std::vector<float> noise = After("sgld:1", kRate, kKey, 0, 0);
  for (size_t i = 0; i < kSize; ++i) {
    const double square = double{noise[i]} * noise[i];
    sum += noise[i];
    squares += square;
    fourths += square * square;
    neighbours += double{noise[i]} * noise[(i + 1) % kSize];
  }
  // Five standard errors; n squares / variance is chi-square with n degrees of freedom.
  const double error = 5 / std::sqrt(double{kSize});
  EXPECT_NEAR(sum / kSize, 0, error * std::sqrt(kRate));
  EXPECT_NEAR(squares / kSize, kRate, error * std::sqrt(2) * kRate);
  EXPECT_NEAR(fourths / kSize, 3 * kRate * kRate, error * std::sqrt(96) * kRate * kRate);
  EXPECT_NEAR(neighbours / kSize, 0, error * kRate);
}

TEST(SgldTest, DriftIsHalfAStepExactly) {
  std::vector<float> normals(kSize);
  FillGaussians({.seed = 7, .purpose = Purpose::kLangevin, .step = 11, .block = 3},
                absl::MakeSpan(normals));
  // All numbers but the normals are powers of two: 3 - 0.25/2 * (0.5 + 0.125 * 3), + 0.5 n.
  const std::vector<float> plain = After("sgld:1", 0.25F, kKey, 3, 0.5F);
  const std::vector<float> decayed = After("sgld:1,weight_decay=0.125", 0.25F, kKey, 3, 0.5F);
  for (size_t i = 0; i < kSize; ++i) {
    ASSERT_EQ(plain[i], 2.9375F + 0.5F * normals[i]) << i;
    ASSERT_EQ(decayed[i], 2.890625F + 0.5F * normals[i]) << i;
  }
}

TEST(SgldTest, NoiseDependsOnSeedStepAndBlockOnly) {
  const BlockKey key = {.seed = 7, .step = 11, .block = 3, .size = 64};
  const std::vector<float> noise = After("sgld:1", 1, key, 0, 0);
  EXPECT_EQ(After("sgld:1", 1, key, 0, 0), noise);
  EXPECT_NE(After("sgld:1", 1, {.seed = 8, .step = 11, .block = 3, .size = 64}, 0, 0), noise);
  EXPECT_NE(After("sgld:1", 1, {.seed = 7, .step = 12, .block = 3, .size = 64}, 0, 0), noise);
  EXPECT_NE(After("sgld:1", 1, {.seed = 7, .step = 11, .block = 4, .size = 64}, 0, 0), noise);
}

}  // namespace
}  // namespace gradwire
