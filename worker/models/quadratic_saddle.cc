// SPDX-License-Identifier: Apache-2.0
// Loss, gradient and metrics of the quadratic saddle.
#include "worker/models/quadratic_saddle.h"

#include <cmath>

namespace gradwire {
namespace {

double SquaredNorm(absl::Span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += double{value} * value;
  return sum;
}

void AddMetric(const char* name, double value, v1::Evaluation* evaluation) {
  v1::Metric* metric = evaluation->add_metrics();
  metric->set_name(name);
  metric->set_value(value);
}

}  // namespace

absl::Status QuadraticSaddle::CheckData(const Dataset&) const { return absl::OkStatus(); }

double QuadraticSaddle::Loss(absl::Span<const float> parameters, double squared_norm) const {
  double quadratic = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    quadratic += Slope(i) * parameters[i] * parameters[i];
  }
  return quadratic / 2 + options_.wall / 4 * squared_norm * squared_norm;
}

double QuadraticSaddle::LossAndGradient(absl::Span<const float> parameters, const Dataset&,
                                        absl::Span<const uint32_t>, absl::Span<float> gradient) {
  const double squared_norm = SquaredNorm(parameters);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const double x = parameters[i];
    gradient[i] = static_cast<float>(Slope(i) * x + options_.wall * squared_norm * x);
  }
  return Loss(parameters, squared_norm);
}

v1::Evaluation QuadraticSaddle::Evaluate(absl::Span<const float> parameters, const Dataset&) {
  const absl::Span<const float> escaping = parameters.first(options_.negative);
  double sum = 0;
  for (const float value : escaping) sum += value;
  v1::Evaluation evaluation;
  evaluation.set_loss(Loss(parameters, SquaredNorm(parameters)));
  AddMetric("distance", std::sqrt(SquaredNorm(escaping)), &evaluation);
  AddMetric("mean", sum / static_cast<double>(options_.negative), &evaluation);
  return evaluation;
}

}  // namespace gradwire
