// SPDX-License-Identifier: Apache-2.0
// What sgd touches and in which units, beside its numbers (sgd_torch_test.cc).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "common/optimizer/registry.h"

namespace gradwire {
namespace {

using testing::ElementsAre;

std::unique_ptr<Optimizer> Make(absl::string_view spec) {
  auto made = MakeOptimizer(spec);
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

TEST(SgdTest, UnitsAndStateFollowTheOptions) {
  const struct {
    const char* spec;
    Units units;
    std::vector<std::string> state;
  } cases[] = {
      {"sgd:0.1", Units::kUpdate, {}},
      {"sgd:lr=0.1,dampening=0.5", Units::kUpdate, {}},  // nothing to dampen
      {"sgd:lr=0.1,weight_decay=0.01", Units::kGradient, {}},
      {"sgd:lr=0.1,momentum=0.9", Units::kGradient, {"momentum"}},
      {"sgd:0.1,0.9,0,0.01,yes", Units::kGradient, {"momentum"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.spec);
    const auto sgd = Make(c.spec);
    EXPECT_EQ(sgd->units(), c.units);
    EXPECT_EQ(sgd->state_names(), c.state);
    EXPECT_EQ(sgd->learning_rate(), 0.1F);
  }
}

TEST(SgdTest, PlainSubtractsTheUpdateWhateverTheLearningRate) {
  std::vector<float> parameters = {1, 2, 3};
  Make("sgd:lr=0.1")
      ->Apply({.learning_rate = 7}, {.dense = true, .indices = {}, .values = {0.5F, -1, 4}},
              absl::MakeSpan(parameters), {});
  EXPECT_THAT(parameters, ElementsAre(0.5F, 3, -1));
}

TEST(SgdTest, PlainSparseUpdateLeavesTheOthersBitForBit) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> parameters = {-0.0F, 1, kNan, 2, -0.0F};
  const std::vector<float> before = parameters;
  Make("sgd:lr=0.1")
      ->Apply({.learning_rate = 0.1F}, {.dense = false, .indices = {1, 3}, .values = {0.25F, 3}},
              absl::MakeSpan(parameters), {});
  EXPECT_EQ(parameters[1], 0.75F);
  EXPECT_EQ(parameters[3], -1);
  for (const size_t i : {0, 2, 4}) {
    EXPECT_EQ(std::memcmp(&parameters[i], &before[i], sizeof(float)), 0) << i;
  }
}

TEST(SgdTest, SparseAndDenseFormsOfOneUpdateGiveOneResult) {
  for (const char* spec : {"sgd:0.1", "sgd:0.1,0.9", "sgd:0.1,weight_decay=0.01",
                           "sgd:lr=0.1,momentum=0.9,weight_decay=0.01,nesterov=yes"}) {
    SCOPED_TRACE(spec);
    const auto sgd = Make(spec);
    std::vector<float> parameters[2] = {{1, 2, 3, 4}, {1, 2, 3, 4}};
    std::vector<float> momentum[2] = {{5, 6, 7, 8}, {5, 6, 7, 8}};
    const BlockValues updates[2] = {{.dense = false, .indices = {0, 2}, .values = {0.5F, -0.25F}},
                                    {.dense = true, .indices = {}, .values = {0.5F, 0, -0.25F, 0}}};
    for (int form = 0; form < 2; ++form) {
      std::vector<absl::Span<float>> state;
      if (!sgd->state_names().empty()) state.push_back(absl::MakeSpan(momentum[form]));
      sgd->Apply({.learning_rate = 0.1F, .applied = 3}, updates[form],
                 absl::MakeSpan(parameters[form]), state);
    }
    EXPECT_EQ(parameters[0], parameters[1]);
    EXPECT_EQ(momentum[0], momentum[1]);
  }
}

}  // namespace
}  // namespace gradwire
