// SPDX-License-Identifier: Apache-2.0
// A strict saddle with known curvature, on which escape times can be computed.
#pragma once

#include <cstddef>

#include "worker/models/model.h"

namespace gradwire {

// f(x) = 1/2 Σ a_i x_i² + wall/4 |x|⁴, a_i = -gamma for i < negative, else curvature
// (job.proto; gradient a_i x_i + wall |x|² x_i).  In double, rounded once; 0 stays 0.
// Metrics: "distance", the Euclidean norm of the first `negative` coordinates, and
// "mean", their mean.
class QuadraticSaddle final : public Model {
 public:
  struct Options {
    size_t dimension = 1;
    size_t negative = 1;  // at most `dimension`
    double gamma = 1;
    double curvature = 1;
    double wall = 0;
  };
  explicit QuadraticSaddle(const Options& options) : options_(options) {}

  size_t dimension() const override { return options_.dimension; }
  bool needs_data() const override { return false; }
  absl::Status CheckData(const Dataset& data) const override;
  double LossAndGradient(absl::Span<const float> parameters, const Dataset& data,
                         absl::Span<const uint32_t> rows, absl::Span<float> gradient) override;
  v1::Evaluation Evaluate(absl::Span<const float> parameters, const Dataset& data) override;

 private:
  double Slope(size_t i) const {  // a_i
    return i < options_.negative ? -options_.gamma : options_.curvature;
  }
  double Loss(absl::Span<const float> parameters, double squared_norm) const;

  const Options options_;
};

}  // namespace gradwire
