// SPDX-License-Identifier: Apache-2.0
// The rate times `factor` after each of the given epochs: factor^(how many at * epoch < step).
#include <memory>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/optimizer/schedule.h"
#include "common/optimizer/schedules/steps.h"

namespace gradwire {
namespace {

class StepDecay final : public Schedule {
 public:
  // The last steps before each change.
  StepDecay(std::vector<double> last_steps, double factor)
      : last_steps_(std::move(last_steps)), factor_(factor) {}

  double Factor(uint64_t step, absl::Span<const double> /*state*/) const override {
    double product = 1;
    for (const double last : last_steps_) {
      if (last < static_cast<double>(step)) product *= factor_;
    }
    return product;
  }

 private:
  const std::vector<double> last_steps_;
  const double factor_;
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters = [] {
    SpecParameter at = StepsParameter("at", "", "epochs after which the rate is changed");
    at.kind = SpecParameter::Kind::kNumbers;
    return std::vector<SpecParameter>{
        at,
        {.name = "factor", .default_value = "0.1", .max = 1, .open_min = true, .help = "each time"},
        StepsParameter("epoch", "1", "steps in an epoch"),
    };
  }();
  return parameters;
}

absl::StatusOr<std::unique_ptr<Schedule>> Make(const SpecValues& values) {
  GRADWIRE_RETURN_IF_ERROR(CheckWholeNumbers(values, "at"));
  GRADWIRE_RETURN_IF_ERROR(CheckWholeNumbers(values, "epoch"));
  std::vector<double> last_steps = values.Numbers("at");
  for (double& last : last_steps) last *= values.Number("epoch");
  return std::make_unique<StepDecay>(std::move(last_steps), values.Number("factor"));
}

}  // namespace

// For the table in schedule.cc.
ScheduleEntry StepDecayEntry() {
  return {.name = "step_decay",
          .summary = "times factor after each epoch in `at`",
          .source = "the fixed scheme of Wilson et al. 2017, arXiv 1705.08292; PyTorch MultiStepLR",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
