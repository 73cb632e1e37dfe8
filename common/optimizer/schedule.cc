// SPDX-License-Identifier: Apache-2.0
// Implementation of schedule.h.
#include "common/optimizer/schedule.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/spec.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

constexpr double kMaxStep = 1099511627776.0;  // 2^40, the limit of JobConfig.steps

class Constant final : public Schedule {
 public:
  double Factor(uint64_t /*step*/) const override { return 1; }
};

class StepDecay final : public Schedule {
 public:
  StepDecay(std::vector<double> at, double factor) : at_(std::move(at)), factor_(factor) {}

  // A product, not pow(): libm's bits differ between machines.
  double Factor(uint64_t step) const override {
    double product = 1;
    for (const double at : at_) {
      if (at < static_cast<double>(step)) product *= factor_;
    }
    return product;
  }

 private:
  const std::vector<double> at_;
  const double factor_;
};

class LinearWarmup final : public Schedule {
 public:
  explicit LinearWarmup(double steps) : steps_(steps) {}

  double Factor(uint64_t step) const override {
    const double done = static_cast<double>(step);
    return done < steps_ ? done / steps_ : 1;
  }

 private:
  const double steps_;
};

// Steps are counted: whole, and in ascending order.
absl::Status CheckSteps(absl::string_view spec, absl::string_view name,
                        absl::Span<const double> steps) {
  double last = 0;
  for (const double step : steps) {
    if (step != static_cast<double>(static_cast<uint64_t>(step))) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", spec, "\": ", name, ": ", step, " is not a whole number"));
    }
    if (step <= last) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", spec, "\": ", name, ": ", step, " stands after ", last, "; steps must ascend"));
    }
    last = step;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Schedule>> MakeStepDecay(absl::string_view spec) {
  const SpecParameter parameters[] = {
      {.name = "at",
       .kind = SpecParameter::Kind::kNumbers,
       .default_value = "",
       .min = 1,
       .max = kMaxStep,
       .help = "steps after which the rate is changed"},
      {.name = "factor", .default_value = "0.1", .max = 1, .open_min = true, .help = "each time"}};
  GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values, ParseSpecArguments(spec, parameters));
  GRADWIRE_RETURN_IF_ERROR(CheckSteps(spec, "at", values.Numbers("at")));
  return std::make_unique<StepDecay>(values.Numbers("at"), values.Number("factor"));
}

absl::StatusOr<std::unique_ptr<Schedule>> MakeLinearWarmup(absl::string_view spec) {
  const SpecParameter steps = {.name = "steps",
                               .default_value = "",
                               .min = 1,
                               .max = kMaxStep,
                               .help = "until the full rate"};
  GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values, ParseSpecArguments(spec, {steps}));
  GRADWIRE_RETURN_IF_ERROR(CheckSteps(spec, "steps", values.Numbers("steps")));
  return std::make_unique<LinearWarmup>(values.Number("steps"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Schedule>> MakeSchedule(absl::string_view spec) {
  const absl::string_view name = SpecName(spec);
  if (name == "constant") {
    GRADWIRE_RETURN_IF_ERROR(ParseSpecArguments(spec, {}).status());
    return std::make_unique<Constant>();
  }
  if (name == "step_decay") return MakeStepDecay(spec);
  if (name == "linear_warmup") return MakeLinearWarmup(spec);
  return absl::InvalidArgumentError(absl::StrCat("\"", spec, "\": no schedule \"", name,
                                                 "\"; known: constant, step_decay, linear_warmup"));
}

float LearningRate(float base, absl::Span<const std::unique_ptr<Schedule>> factors, uint64_t step) {
  double rate = base;
  for (const std::unique_ptr<Schedule>& factor : factors) rate *= factor->Factor(step);
  return static_cast<float>(rate);
}

}  // namespace gradwire
