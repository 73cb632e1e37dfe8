// SPDX-License-Identifier: Apache-2.0
// The learning rate over the steps, against the schedules' formulas.
#include "common/optimizer/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace gradwire {
namespace {

using testing::HasSubstr;

std::unique_ptr<Schedule> Made(const std::string& spec) {
  auto schedule = MakeSchedule(spec);
  EXPECT_TRUE(schedule.ok()) << schedule.status();
  return *std::move(schedule);
}

TEST(ScheduleTest, EntriesSayWhatTheyAre) {
  for (const ScheduleEntry& entry : ScheduleRegistry()) {
    SCOPED_TRACE(entry.name);
    EXPECT_STRNE(entry.summary, "");
    EXPECT_STRNE(entry.source, "");
    for (const SpecParameter& parameter : entry.parameters()) EXPECT_FALSE(parameter.help.empty());
  }
}

TEST(ScheduleTest, FactorsFollowTheFormulas) {
  const struct {
    const char* spec;
    std::vector<std::pair<uint64_t, double>> factors;  // of a step
  } cases[] = {
      {"constant", {{1, 1}, {1000000, 1}}},
      {"step_decay:at=100", {{1, 1}, {100, 1}, {101, 0.1}, {uint64_t{1} << 40, 0.1}}},
      {"step_decay:at=10+20,factor=0.5", {{10, 1}, {11, 0.5}, {20, 0.5}, {21, 0.25}, {99, 0.25}}},
      {"step_decay:at=1+3,factor=0.5,epoch=10",
       {{10, 1}, {11, 0.5}, {30, 0.5}, {31, 0.25}, {99, 0.25}}},
      {"step_decay:at=1099511627776,epoch=1099511627776", {{uint64_t{1} << 40, 1}}},
      {"exponential:0.5", {{1, 1}, {2, 0.5}, {3, 0.25}, {11, 0x1p-10}, {1000000, 0}}},
      {"exponential:0.5,every=10", {{1, 1}, {10, 1}, {11, 0.5}, {20, 0.5}, {21, 0.25}}},
      {"exponential:1", {{1, 1}, {uint64_t{1} << 40, 1}}},
      {"cosine:2", {{1, 1}, {2, 0.5}, {3, 0}, {4, 0}, {uint64_t{1} << 40, 0}}},
      {"cosine:1", {{1, 1}, {2, 0}}},
      {"cosine:steps=10,min=0.25", {{1, 1}, {6, 0.625}, {11, 0.25}, {12, 0.25}}},
      {"linear_warmup:4", {{1, 0.25}, {2, 0.5}, {3, 0.75}, {4, 1}, {5, 1}, {1000, 1}}},
      {"linear_warmup:steps=1", {{1, 1}, {2, 1}}},
      {"inverse_sqrt:steps=1", {{1, 1}, {4, 0.5}, {100, 0.1}}},
      {"inverse_sqrt:steps=25", {{1, 1}, {25, 1}, {100, 0.5}, {2500, 0.1}}},
  };
  for (const auto& c : cases) {
    const auto schedule = Made(c.spec);
    EXPECT_EQ(schedule->state_size(), 0U);
    for (const auto& [step, want] : c.factors) {
      EXPECT_EQ(schedule->Factor(step, {}), want) << c.spec << " step " << step;
    }
  }
}

TEST(ScheduleTest, CosineIsLibmsWithin1e15) {
  for (const uint64_t steps : {3, 7, 1000, 99991}) {
    const auto schedule = Made("cosine:" + std::to_string(steps));
    for (uint64_t t = 0; t <= steps; ++t) {
      const long double part = static_cast<long double>(t) / static_cast<long double>(steps);
      const long double want = (1 + std::cos(3.14159265358979323846264338L * part)) / 2;
      ASSERT_NEAR(schedule->Factor(t + 1, {}), static_cast<double>(want), 1e-15)
          << t << " of " << steps;
    }
  }
}

TEST(ScheduleTest, ExponentialIsLibmsPower) {
  const auto schedule = Made("exponential:0.999,every=3");
  for (uint64_t step = 1; step < 20000; step += 7) {
    const double want = std::pow(0.999, static_cast<double>((step - 1) / 3));
    ASSERT_NEAR(schedule->Factor(step, {}), want, 1e-12 * want) << step;
  }
}

v1::Evaluation Evaluation(double loss, double accuracy) {
  v1::Evaluation evaluation;
  evaluation.set_loss(loss);
  for (const char* name : {"other", "accuracy"}) {
    v1::Metric* metric = evaluation.add_metrics();
    metric->set_name(name);
    metric->set_value(name == std::string("accuracy") ? accuracy : -7);
  }
  return evaluation;
}

TEST(ScheduleTest, PlateauCutsWhenNoNewBestComes) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const struct {
    const char* spec;
    std::vector<double> scores;
    std::vector<double> factors;  // after each
  } cases[] = {
      {"plateau", {0.5, 0.6, 0.6, 0.7, 0.1, 0.2}, {1, 1, 0.5, 0.5, 0.25, 0.125}},
      {"plateau:patience=1", {5, 4, 4, 4, 4, 6, 1, 1}, {1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125}},
      {"plateau:patience=1", {5, 4, 6, 5, 7, 6, 6}, {1, 1, 1, 1, 1, 1, 0.5}},  // in a row
      {"plateau:metric=loss", {5, 4, 4, 3, 3.5}, {1, 1, 0.5, 0.5, 0.25}},
      {"plateau:0.5,min=0.2", {1, 1, 1, 1, 1}, {1, 0.5, 0.25, 0.2, 0.2}},
      {"plateau", {-3, -2, -2.5}, {1, 1, 0.5}},  // no score is below the first
      {"plateau", {kNan, 1, kInfinity, 2, kNan}, {0.5, 0.5, 0.25, 0.25, 0.125}},
      {"plateau:metric=loss", {kNan, 1, -kInfinity, 0.5}, {0.5, 0.5, 0.25, 0.25}},
  };
  for (const auto& c : cases) {
    const auto schedule = Made(c.spec);
    std::vector<double> state(schedule->state_size(), 0.0);
    EXPECT_EQ(schedule->Factor(1, state), 1);
    for (size_t i = 0; i < c.scores.size(); ++i) {
      schedule->Observe(Evaluation(c.scores[i], c.scores[i]), absl::MakeSpan(state));
      EXPECT_EQ(schedule->Factor(i + 1, state), c.factors[i]) << c.spec << " evaluation " << i;
    }
  }
}

TEST(ScheduleTest, PlateauIgnoresEvaluationsWithoutItsMetric) {
  const auto schedule = Made("plateau");
  std::vector<double> state(schedule->state_size(), 0.0);
  for (int i = 0; i < 5; ++i) schedule->Observe(v1::Evaluation(), absl::MakeSpan(state));
  EXPECT_EQ(schedule->Factor(9, state), 1);
}

TEST(ScheduleTest, RefusesWithNameValueAndLimit) {
  const struct {
    const char* spec;
    const char* want;
  } cases[] = {
      {"", "no schedule \"\"; known: constant, step_decay, exponential, cosine"},
      {"polynomial:100", "no schedule \"polynomial\""},
      {"constant:1", "no parameter for \"1\""},
      {"step_decay", "at is required"},
      {"step_decay:0", "at: 0 is not in [1, "},
      {"step_decay:at=1e13", "at: 1e13 is not in [1, "},
      {"step_decay:at=1.5", "\"step_decay:at=1.5\": at: 1.5 is not a whole number"},
      {"step_decay:at=20+10", "at: 10 stands after 20; steps must ascend"},
      {"step_decay:at=10+10", "at: 10 stands after 10"},
      {"step_decay:10,factor=0", "factor: 0 is not in (0, 1]"},
      {"step_decay:10,factor=1.5", "factor: 1.5 is not in (0, 1]"},
      {"step_decay:10,epoch=0.5", "epoch: 0.5 is not in [1, "},
      {"step_decay:10,epoch=1.5", "epoch: 1.5 is not a whole number"},
      {"exponential", "gamma is required"},
      {"exponential:1.1", "gamma: 1.1 is not in (0, 1]"},
      {"exponential:0.9,every=0", "every: 0 is not in [1, "},
      {"exponential:0.9,every=2.5", "every: 2.5 is not a whole number"},
      {"cosine", "steps is required"},
      {"cosine:100,min=-1", "min: -1 is not in [0, 1]"},
      {"cosine:1.5", "steps: 1.5 is not a whole number"},
      {"linear_warmup", "steps is required"},
      {"linear_warmup:0", "steps: 0 is not in [1, "},
      {"linear_warmup:2.5", "steps: 2.5 is not a whole number"},
      {"inverse_sqrt", "steps is required"},
      {"inverse_sqrt:2.5", "steps: 2.5 is not a whole number"},
      {"plateau:factor=0", "factor: 0 is not in (0, 1]"},
      {"plateau:patience=-1", "patience: -1 is not in [0, "},
      {"plateau:patience=1.5", "patience: 1.5 is not a whole number"},
      {"plateau:metric=f1", "metric: \"f1\" is not one of accuracy, loss"},
      {"plateau:min=2", "min: 2 is not in [0, 1]"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.spec);
    const absl::Status status = MakeSchedule(c.spec).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

}  // namespace
}  // namespace gradwire
