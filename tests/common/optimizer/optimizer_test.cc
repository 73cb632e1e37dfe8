// SPDX-License-Identifier: Apache-2.0
// What holds for every optimizer, beside its numbers: units, state, sparse updates, blocks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "tests/common/optimizer/training.h"

namespace gradwire {
namespace {

using testing::ElementsAre;

struct Case {
  const char* spec;
  std::vector<std::string> vectors;
  size_t scalars;
  bool first_moment;
};

const std::vector<Case>& Cases() {
  static const auto* const cases = new std::vector<Case>{
      {"sgd:0.1", {}, 0, false},
      {"sgd:0.1,weight_decay=0.01", {}, 0, false},
      {"sgd:0.1,momentum=0.9", {"momentum"}, 0, true},
      {"adagrad", {"sum"}, 0, false},
      {"rmsprop", {"square_average"}, 0, false},
      {"rmsprop:centered=yes", {"square_average", "gradient_average"}, 0, false},
      {"rmsprop:momentum=0.9", {"square_average", "momentum"}, 0, true},
      {"rmsprop:momentum=0.9,centered=yes",
       {"square_average", "gradient_average", "momentum"},
       0,
       true},
      {"adadelta", {"square_average", "delta_average"}, 0, false},
      {"adam", {"first_moment", "second_moment"}, 2, true},
      {"adam:beta1=0", {"first_moment", "second_moment"}, 2, false},
      {"adam:amsgrad=yes", {"first_moment", "second_moment", "max_second_moment"}, 2, true},
      {"adamw", {"first_moment", "second_moment"}, 2, true},
      {"adamw:amsgrad=yes,beta1=0",
       {"first_moment", "second_moment", "max_second_moment"},
       2,
       false},
      {"ftml", {"second_moment"}, 2, false},
      {"signum", {"momentum"}, 0, true},
      {"signum:momentum=0", {}, 0, false},
      {"sgld:0.01", {}, 0, false},
  };
  return *cases;
}

TEST(OptimizerTest, UnitsAndStateFollowTheOptions) {
  std::set<std::string> seen;
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.spec);
    const auto optimizer = Made(c.spec);
    std::vector<std::string> vectors;
    for (const StateVector& vector : optimizer->state_vectors()) vectors.push_back(vector.name);
    EXPECT_EQ(vectors, c.vectors);
    EXPECT_EQ(optimizer->state_scalars().size(), c.scalars);
    EXPECT_EQ(optimizer->has_first_moment(), c.first_moment);
    const bool plain = std::string(c.spec) == "sgd:0.1";
    EXPECT_EQ(optimizer->units(), plain ? Units::kUpdate : Units::kGradient);
    seen.emplace(SpecName(c.spec));
  }
  for (const OptimizerEntry& entry : OptimizerRegistry()) {
    EXPECT_EQ(seen.count(entry.name), 1U) << entry.name << " has no row in this test";
  }
}

TEST(OptimizerTest, FirstStateIsWhatTheOptionsSay) {
  EXPECT_EQ(Made("adagrad:initial_accumulator=0.5")->state_vectors()[0].initial, 0.5F);
  EXPECT_EQ(Made("adagrad")->state_vectors()[0].initial, 0);
  for (const StateScalar& scalar : Made("adam")->state_scalars()) EXPECT_EQ(scalar.initial, 1);
}

TEST(OptimizerTest, ScalarsAreRunningPowers) {
  for (const char* spec : {"adam:beta1=0.9,beta2=0.999", "adamw:beta1=0.9,beta2=0.999",
                           "ftml:beta1=0.9,beta2=0.999"}) {
    Training training(spec, {1});
    for (int step = 1; step <= 50; ++step) {
      training.Step(0.1F, {.dense = true, .indices = {}, .values = {1}});
      EXPECT_NEAR(training.scalars()[0], std::pow(0.9, step), 1e-15) << spec;
      EXPECT_NEAR(training.scalars()[1], std::pow(0.999, step), 1e-14) << spec;
    }
  }
}

TEST(OptimizerTest, SparseAndDenseFormsOfOneUpdateGiveOneResult) {
  const BlockValues sparse = {.dense = false, .indices = {0, 2}, .values = {0.5F, -0.25F}};
  const BlockValues dense = {.dense = true, .indices = {}, .values = {0.5F, 0, -0.25F, 0}};
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.spec);
    Training runs[2] = {{c.spec, {1, 2, 3, 4}}, {c.spec, {1, 2, 3, 4}}};
    for (int step = 0; step < 3; ++step) {
      runs[0].Step(0.1F, sparse);
      runs[1].Step(0.1F, dense);
    }
    EXPECT_EQ(runs[0].parameters(), runs[1].parameters());
    EXPECT_EQ(runs[0].state(), runs[1].state());
  }
}

// A sparse update that names nothing is a gradient of zeros: averages decay, nothing is NaN.
TEST(OptimizerTest, AnEmptyUpdateIsAGradientOfZeros) {
  const BlockValues empty = {.dense = false, .indices = {}, .values = {}};
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.spec);
    Training training(c.spec, {1, -2, 0});
    for (int step = 0; step < 3; ++step) training.Step(0.01F, empty);
    for (const float value : training.parameters()) EXPECT_TRUE(std::isfinite(value));
    if (std::string(c.spec).find("sgld") == 0) continue;  // its noise moves everything
    EXPECT_NEAR(training.parameters()[0], 1, 0.01);
    EXPECT_EQ(training.parameters()[2], 0);
  }
}

// torch makes NaN of a variance that has been rounded below 0.
TEST(OptimizerTest, CenteredRmspropSurvivesAConstantGradient) {
  const BlockValues gradient = {.dense = true, .indices = {}, .values = {0.1F, 1.7F, -3e5F, 1e-7F}};
  Training training("rmsprop:alpha=0.5,centered=yes", {1, 1, 1, 1});
  bool negative = false;
  for (int step = 0; step < 200; ++step) {
    training.Step(1e-6F, gradient);
    for (size_t i = 0; i < 4; ++i) {
      const float m = training.state()[1][i];
      const float square = m * m;
      negative = negative || training.state()[0][i] - square < 0;
      ASSERT_TRUE(std::isfinite(training.parameters()[i])) << "step " << step;
    }
  }
  EXPECT_TRUE(negative) << "the case has not been met: choose other gradients";
}

TEST(OptimizerTest, BlocksAreIndependent) {
  for (const Case& c : Cases()) {
    if (std::string(c.spec).find("sgld") == 0) continue;  // its noise belongs to the block
    SCOPED_TRACE(c.spec);
    Training whole(c.spec, {1, 2, 3, 4});
    Training halves[2] = {{c.spec, {1, 2}}, {c.spec, {3, 4}}};
    for (int step = 0; step < 3; ++step) {
      whole.Step(0.1F, {.dense = true, .indices = {}, .values = {1, -2, 0.5F, 8}});
      halves[0].Step(0.1F, {.dense = true, .indices = {}, .values = {1, -2}});
      halves[1].Step(0.1F, {.dense = true, .indices = {}, .values = {0.5F, 8}});
    }
    const std::vector<float>& w = whole.parameters();
    EXPECT_THAT(halves[0].parameters(), ElementsAre(w[0], w[1]));
    EXPECT_THAT(halves[1].parameters(), ElementsAre(w[2], w[3]));
  }
}

}  // namespace
}  // namespace gradwire
