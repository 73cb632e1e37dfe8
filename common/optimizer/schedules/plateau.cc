// SPDX-License-Identifier: Apache-2.0
// The rate times `factor` when evaluations get no better: after patience + 1 in a row that set
// no new best of the metric, and then after as many again; never below `min` of the base rate.
// patience=0 is the second scheme of Wilson et al. 2017.
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status_macros.h"
#include "common/optimizer/schedule.h"
#include "common/optimizer/schedules/steps.h"

namespace gradwire {
namespace {

// What it remembers, all 0 at first.
enum State : size_t {
  kHasBest,  // 1 when there is a best
  kBest,     // of the scores, of which higher is better
  kInARow,   // evaluations in a row without a new best
  kCuts,     // how often the rate was cut
  kStateSize,
};

class Plateau final : public Schedule {
 public:
  explicit Plateau(const SpecValues& values)
      : factor_(values.Number("factor")),
        patience_(values.Number("patience")),
        metric_(values.Word("metric")),
        min_(values.Number("min")) {}

  size_t state_size() const override { return kStateSize; }

  double Factor(uint64_t /*step*/, absl::Span<const double> state) const override {
    return std::max(min_, Power(factor_, static_cast<uint64_t>(state[kCuts])));
  }

  void Observe(const v1::Evaluation& evaluation, absl::Span<double> state) const override {
    const std::optional<double> score = Score(evaluation);
    if (!score.has_value()) return;
    // NaN and infinities are no new best, and must not become one.
    if (std::isfinite(*score) && (state[kHasBest] == 0 || *score > state[kBest])) {
      state[kHasBest] = 1;
      state[kBest] = *score;
      state[kInARow] = 0;
      return;
    }
    state[kInARow] += 1;
    if (state[kInARow] <= patience_) return;
    state[kInARow] = 0;
    state[kCuts] += 1;
  }

 private:
  // None when the evaluation does not have the metric.
  std::optional<double> Score(const v1::Evaluation& evaluation) const {
    if (metric_ == "loss") return -evaluation.loss();
    for (const v1::Metric& metric : evaluation.metrics()) {
      if (metric.name() == metric_) return metric.value();
    }
    return std::nullopt;
  }

  const double factor_;
  const double patience_;
  const std::string metric_;
  const double min_;
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters = {
      {.name = "factor", .default_value = "0.5", .max = 1, .open_min = true, .help = "each time"},
      {.name = "patience",
       .default_value = "0",
       .max = 1e6,
       .help = "evaluations without a new best that change nothing"},
      {.name = "metric",
       .kind = SpecParameter::Kind::kWord,
       .default_value = "accuracy",
       .words = {"accuracy", "loss"},
       .help = "of the evaluations; a loss is better when lower"},
      {.name = "min", .default_value = "1e-4", .max = 1, .help = "lowest rate, of the base rate"},
  };
  return parameters;
}

absl::StatusOr<std::unique_ptr<Schedule>> Make(const SpecValues& values) {
  GRADWIRE_RETURN_IF_ERROR(CheckWholeNumbers(values, "patience"));
  return std::make_unique<Plateau>(values);
}

}  // namespace

// For the table in schedule.cc.
ScheduleEntry PlateauEntry() {
  return {.name = "plateau",
          .summary = "times factor after evaluations that set no new best",
          .source =
              "the second scheme of Wilson et al. 2017, arXiv 1705.08292; PyTorch "
              "ReduceLROnPlateau",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
