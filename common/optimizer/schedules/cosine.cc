// SPDX-License-Identifier: Apache-2.0
// Down along half a cosine: min + (1 - min) (1 + cos(pi t / steps)) / 2, t = min(step - 1, steps).
#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "common/base/status_macros.h"
#include "common/optimizer/schedule.h"
#include "common/optimizer/schedules/steps.h"

namespace gradwire {
namespace {

constexpr double kPi = 3.141592653589793;

// first * (1 - x^2/(a(a+1)) + x^4/(a(a+1)(a+2)(a+3)) - ...), for x in [0, pi/4] and nine terms:
// the series of cosine for a = 1, of sine for a = 2 and first = x.  What is left out is
// below 1e-17.  Horner's scheme from the smallest term.
double Series(double first, double a, double x) {
  constexpr int kTerms = 9;
  const double square = x * x;
  double sum = 1;
  for (int term = kTerms - 1; term > 0; --term) {
    const double n = a + 2 * (term - 1);
    sum = 1 - square / (n * (n + 1)) * sum;
  }
  return first * sum;
}

// cos(pi * part / whole) for whole numbers 0 <= part <= whole <= 2^40, within 4e-16.
// The quadrant is taken off the whole numbers, exactly.
double CosineOfPi(uint64_t part, uint64_t whole) {
  if (2 * part > whole) return -CosineOfPi(whole - part, whole);
  const auto length = static_cast<double>(whole);
  if (4 * part <= whole) return Series(1, 1, kPi * (static_cast<double>(part) / length));
  const double rest = static_cast<double>(whole - 2 * part) / (2 * length);
  return Series(kPi * rest, 2, kPi * rest);
}

class Cosine final : public Schedule {
 public:
  Cosine(uint64_t steps, double min) : steps_(steps), min_(min) {}

  double Factor(uint64_t step, absl::Span<const double> /*state*/) const override {
    const double cosine = CosineOfPi(std::min(step - 1, steps_), steps_);
    return min_ + (1 - min_) * (1 + cosine) / 2;
  }

 private:
  const uint64_t steps_;
  const double min_;
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters = {
      StepsParameter("steps", "", "until the lowest rate"),
      {.name = "min", .default_value = "0", .max = 1, .help = "lowest rate, of the base rate"},
  };
  return parameters;
}

absl::StatusOr<std::unique_ptr<Schedule>> Make(const SpecValues& values) {
  GRADWIRE_RETURN_IF_ERROR(CheckWholeNumbers(values, "steps"));
  return std::make_unique<Cosine>(static_cast<uint64_t>(values.Number("steps")),
                                  values.Number("min"));
}

}  // namespace

// For the table in schedule.cc.
ScheduleEntry CosineEntry() {
  return {.name = "cosine",
          .summary = "min + (1 - min)(1 + cos(pi (step - 1) / steps)) / 2, then min",
          .source = "Loshchilov, Hutter 2017, arXiv 1608.03983; PyTorch CosineAnnealingLR",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
