// SPDX-License-Identifier: Apache-2.0
// The full rate for `steps` steps, then down with the root of the step: min(1, sqrt(steps / step)).
#include <cmath>
#include <memory>
#include <vector>

#include "common/base/status_macros.h"
#include "common/optimizer/schedule.h"
#include "common/optimizer/schedules/steps.h"

namespace gradwire {
namespace {

class InverseSqrt final : public Schedule {
 public:
  explicit InverseSqrt(double steps) : steps_(steps) {}

  double Factor(uint64_t step, absl::Span<const double> /*state*/) const override {
    const auto done = static_cast<double>(step);
    return done <= steps_ ? 1 : std::sqrt(steps_ / done);
  }

 private:
  const double steps_;
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters = {
      StepsParameter("steps", "", "at the full rate")};
  return parameters;
}

absl::StatusOr<std::unique_ptr<Schedule>> Make(const SpecValues& values) {
  GRADWIRE_RETURN_IF_ERROR(CheckWholeNumbers(values, "steps"));
  return std::make_unique<InverseSqrt>(values.Number("steps"));
}

}  // namespace

// For the table in schedule.cc.
ScheduleEntry InverseSqrtEntry() {
  return {.name = "inverse_sqrt",
          .summary = "min(1, sqrt(steps / step))",
          .source = "Vaswani et al. 2017, arXiv 1706.03762, without the warm-up",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
