// SPDX-License-Identifier: Apache-2.0
// The noise has the law that its spec names, and is a function of (seed, step, block).
#include "common/optimizer/perturbation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace gradwire {
namespace {

using testing::HasSubstr;

constexpr size_t kSize = 100000;

std::vector<float> Noise(float std, const BlockKey& key, float at = 0) {
  std::vector<float> gradient(key.size, at);
  AddNormals(key, Purpose::kPerturbation, std, absl::MakeSpan(gradient));
  return gradient;
}

TEST(PerturbationTest, HasTheStandardDeviationPerCoordinate) {
  const std::vector<float> noise = Noise(0.25F, {.seed = 3, .step = 9, .block = 2, .size = kSize});
  double sum = 0;
  double squares = 0;
  for (const float value : noise) {
    sum += value;
    squares += double{value} * value;
  }
  const double n = kSize;
  // Five standard errors: of a mean std/sqrt(n), of a variance std^2*sqrt(2/n).
  EXPECT_NEAR(sum / n, 0, 5 * 0.25 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 0.0625, 5 * 0.0625 * std::sqrt(2 / n));
}

TEST(PerturbationTest, IsAddedToTheGradient) {
  const BlockKey key = {.seed = 3, .step = 9, .block = 2, .size = 1000};
  const std::vector<float> alone = Noise(0.25F, key);
  const std::vector<float> added = Noise(0.25F, key, 10);
  for (size_t i = 0; i < alone.size(); ++i) EXPECT_EQ(added[i], 10 + alone[i]) << i;
}

TEST(PerturbationTest, DependsOnSeedStepAndBlockOnly) {
  const BlockKey key = {.seed = 3, .step = 9, .block = 2, .size = 64};
  const std::vector<float> noise = Noise(1, key);
  EXPECT_EQ(Noise(1, key), noise);
  BlockKey other = key;
  other.seed = 4;
  EXPECT_NE(Noise(1, other), noise);
  other = key;
  other.step = 10;
  EXPECT_NE(Noise(1, other), noise);
  other = key;
  other.block = 3;
  EXPECT_NE(Noise(1, other), noise);
}

TEST(PerturbationTest, SquaredNormalsAreThoseThatAreAdded) {
  const BlockKey key = {.seed = 3, .step = 9, .block = 2, .size = 1001};
  double squares = 0;
  for (const float value : Noise(1, key)) squares += double{value} * value;
  EXPECT_EQ(SquaredNormals(key, Purpose::kPerturbation), squares);
}

TEST(PerturbationTest, IsMadeFromItsSpec) {
  EXPECT_EQ(MakePerturbation("none")->kind, Perturbation::Kind::kNone);
  EXPECT_EQ(MakePerturbation("gaussian:1")->kind, Perturbation::Kind::kGaussian);
  EXPECT_EQ(MakePerturbation("gaussian:std=0.01")->std, 0.01F);
  EXPECT_EQ(MakePerturbation("gaussian:2")->std, 2.0F);
  EXPECT_EQ(MakePerturbation("sphere:0.5")->kind, Perturbation::Kind::kSphere);
  EXPECT_EQ(MakePerturbation("sphere:0.5")->std, 0.5F);
  EXPECT_TRUE(MakePerturbation("sphere:0.5")->every_step());
  const auto on_demand = MakePerturbation("on_demand:radius=2,threshold=0.5,wait=30,escape=4");
  ASSERT_TRUE(on_demand.ok()) << on_demand.status();
  EXPECT_EQ(on_demand->kind, Perturbation::Kind::kOnDemand);
  EXPECT_FALSE(on_demand->every_step());
  EXPECT_EQ(on_demand->radius, 2);
  EXPECT_EQ(on_demand->threshold, 0.5);
  EXPECT_EQ(on_demand->wait, 30U);
  EXPECT_EQ(on_demand->escape, 4);
  EXPECT_EQ(MakePerturbation("on_demand:2,0.5")->wait, 100U);
  const struct {
    const char* spec;
    const char* want;
  } refused[] = {
      {"", "no perturbation \"\"; known: none, gaussian, "},
      {"none:1", "no parameter for \"1\""},
      {"gaussian", "std is required"},
      {"gaussian:0", "std: 0 is not in ["},
      {"gaussian:std=-1", "std: -1 is not in ["},
      {"sphere", "std is required"},
      {"on_demand:1", "threshold is required"},
      {"on_demand:0,1", "radius: 0 is not in ["},
      {"on_demand:1,1,0", "wait: 0 is not in [1, 1e+12]"},
      {"on_demand:1,1,2.5", "wait: 2.5 is not a whole number"},
      {"gaussian:std=inf", "std: \"inf\" is not a number"},
  };
  for (const auto& c : refused) {
    SCOPED_TRACE(c.spec);
    const absl::Status status = MakePerturbation(c.spec).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

}  // namespace
}  // namespace gradwire
