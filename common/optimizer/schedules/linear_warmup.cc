// SPDX-License-Identifier: Apache-2.0
// Up to the base rate in equal parts: min(1, step / steps).
#include <memory>
#include <vector>

#include "common/base/status_macros.h"
#include "common/optimizer/schedule.h"
#include "common/optimizer/schedules/steps.h"

namespace gradwire {
namespace {

class LinearWarmup final : public Schedule {
 public:
  explicit LinearWarmup(double steps) : steps_(steps) {}

  double Factor(uint64_t step, absl::Span<const double> /*state*/) const override {
    const auto done = static_cast<double>(step);
    return done < steps_ ? done / steps_ : 1;
  }

 private:
  const double steps_;
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters = {
      StepsParameter("steps", "", "until the full rate")};
  return parameters;
}

absl::StatusOr<std::unique_ptr<Schedule>> Make(const SpecValues& values) {
  GRADWIRE_RETURN_IF_ERROR(CheckWholeNumbers(values, "steps"));
  return std::make_unique<LinearWarmup>(values.Number("steps"));
}

}  // namespace

// For the table in schedule.cc.
ScheduleEntry LinearWarmupEntry() {
  return {.name = "linear_warmup",
          .summary = "min(1, step / steps)",
          .source = "Goyal et al. 2017, arXiv 1706.02677; PyTorch LinearLR",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
