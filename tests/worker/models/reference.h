// SPDX-License-Identifier: Apache-2.0
// A multilayer perceptron in double and plain loops, to compare models with.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "worker/data/dataset.h"

namespace gradwire {

class ReferenceClassifier {
 public:
  explicit ReferenceClassifier(std::vector<uint32_t> widths) : widths_(std::move(widths)) {}

  double Loss(const std::vector<double>& parameters, const Dataset& data,
              absl::Span<const uint32_t> rows) const {
    double loss = 0;
    for (const uint32_t row : rows) {
      const std::vector<double> logits = Logits(parameters, data.row(row));
      double sum = 0;
      for (const double logit : logits) sum += std::exp(logit);
      loss += std::log(sum) - logits[data.labels[row]];
    }
    return loss / static_cast<double>(rows.size());
  }

  // Central difference of the loss in coordinate `i`.
  double Slope(std::vector<double> parameters, const Dataset& data, absl::Span<const uint32_t> rows,
               size_t i) const {
    constexpr double kStep = 1e-6;
    const double middle = parameters[i];
    parameters[i] = middle + kStep;
    const double above = Loss(parameters, data, rows);
    parameters[i] = middle - kStep;
    return (above - Loss(parameters, data, rows)) / (2 * kStep);
  }

  double Accuracy(const std::vector<double>& parameters, const Dataset& data) const {
    size_t correct = 0;
    for (size_t row = 0; row < data.rows; ++row) {
      const std::vector<double> logits = Logits(parameters, data.row(row));
      size_t best = 0;
      for (size_t j = 1; j < logits.size(); ++j) best = logits[j] > logits[best] ? j : best;
      if (best == data.labels[row]) ++correct;
    }
    return static_cast<double>(correct) / static_cast<double>(data.rows);
  }

 private:
  std::vector<double> Logits(const std::vector<double>& parameters,
                             absl::Span<const float> inputs) const {
    std::vector<double> values(inputs.begin(), inputs.end());
    size_t at = 0;  // in the parameters
    for (size_t layer = 1; layer < widths_.size(); ++layer) {
      std::vector<double> next(widths_[layer], 0.0);
      for (double& sum : next) {
        for (const double value : values) sum += parameters[at++] * value;
      }
      for (double& sum : next) sum += parameters[at++];
      if (layer + 1 < widths_.size()) {
        for (double& value : next) value = value > 0 ? value : 0;
      }
      values = next;
    }
    return values;
  }

  const std::vector<uint32_t> widths_;
};

}  // namespace gradwire
