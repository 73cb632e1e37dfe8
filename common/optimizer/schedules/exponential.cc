// SPDX-License-Identifier: Apache-2.0
// gamma^floor((step - 1) / every).
#include <memory>
#include <vector>

#include "common/base/status_macros.h"
#include "common/optimizer/schedule.h"
#include "common/optimizer/schedules/steps.h"

namespace gradwire {
namespace {

class Exponential final : public Schedule {
 public:
  Exponential(double gamma, uint64_t every) : gamma_(gamma), every_(every) {}

  double Factor(uint64_t step, absl::Span<const double> /*state*/) const override {
    return Power(gamma_, (step - 1) / every_);
  }

 private:
  const double gamma_;
  const uint64_t every_;
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters = {
      {.name = "gamma", .default_value = "", .max = 1, .open_min = true, .help = "each time"},
      StepsParameter("every", "1", "steps from one change to the next"),
  };
  return parameters;
}

absl::StatusOr<std::unique_ptr<Schedule>> Make(const SpecValues& values) {
  GRADWIRE_RETURN_IF_ERROR(CheckWholeNumbers(values, "every"));
  return std::make_unique<Exponential>(values.Number("gamma"),
                                       static_cast<uint64_t>(values.Number("every")));
}

}  // namespace

// For the table in schedule.cc.
ScheduleEntry ExponentialEntry() {
  return {.name = "exponential",
          .summary = "gamma^floor((step - 1) / every)",
          .source = "PyTorch ExponentialLR, and StepLR for every > 1",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
