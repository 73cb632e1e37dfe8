// SPDX-License-Identifier: Apache-2.0
// Schedules give the rates of torch.optim.lr_scheduler's, asked at each run of the test.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "common/optimizer/schedule.h"

namespace gradwire {
namespace {

constexpr uint64_t kSteps = 120;

// Of schedule_golden.py; empty when it did not run.
std::string TorchText() {
  FILE* pipe =
      ::popen("/usr/bin/python3 " GRADWIRE_TEST_DATA "/common/optimizer/schedule_golden.py", "r");
  if (pipe == nullptr) return "";
  std::string text;
  char buffer[4096];
  for (size_t got = 0; (got = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    text.append(buffer, got);
  }
  const int status = ::pclose(pipe);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? text : "";
}

// score() of schedule_golden.py, under both names.
v1::Evaluation Evaluation(uint64_t number) {
  const uint64_t score = number % 40 != 0 ? number * 7919 % 31 / 3 : 11 + number / 40;
  v1::Evaluation evaluation;
  evaluation.set_version(number);
  evaluation.set_loss(static_cast<double>(score));
  v1::Metric* metric = evaluation.add_metrics();
  metric->set_name("accuracy");
  metric->set_value(static_cast<double>(score));
  return evaluation;
}

TEST(ScheduleTorchTest, GivesTheRatesOfTorch) {
  std::istringstream lines(TorchText());
  std::set<std::string> seen;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string spec;
    fields >> spec;
    seen.emplace(SpecName(spec));
    const auto schedule = MakeSchedule(spec);
    ASSERT_TRUE(schedule.ok()) << schedule.status();
    std::vector<double> state((*schedule)->state_size(), 0.0);
    for (uint64_t step = 1; step <= kSteps; ++step) {
      double want = 0;
      ASSERT_TRUE(fields >> want);
      // torch multiplies the last rate again and again: its own roundings add up.
      EXPECT_NEAR((*schedule)->Factor(step, state), want, 1e-13) << spec << " step " << step;
      (*schedule)->Observe(Evaluation(step), absl::MakeSpan(state));
    }
  }
  ASSERT_FALSE(seen.empty())
      << "did /usr/bin/python3 find torch?  It is in deploy/packages: python3-torch";
  for (const ScheduleEntry& entry : ScheduleRegistry()) {
    EXPECT_EQ(seen.count(entry.name), 1U) << entry.name << " has no row in schedule_golden.py";
  }
}

}  // namespace
}  // namespace gradwire
