// SPDX-License-Identifier: Apache-2.0
// Fully connected layers with ReLU between them and softmax cross-entropy at the
// end; without hidden layers it is softmax regression.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "worker/models/model.h"

namespace gradwire {

// Parameters: layer1.weight [widths[1], widths[0]], layer1.bias, layer2.weight, ...
// Matrix products on OpenBLAS, straight on the flat parameters; buffers are kept
// between steps.
class Mlp final : public Model {
 public:
  // `widths`: inputs, hidden layers, classes; at least two, none 0.
  explicit Mlp(const std::vector<uint32_t>& widths);

  size_t dimension() const override { return dimension_; }
  bool needs_data() const override { return true; }
  absl::Status CheckData(const Dataset& data) const override;
  double LossAndGradient(absl::Span<const float> parameters, const Dataset& data,
                         absl::Span<const uint32_t> rows, absl::Span<float> gradient) override;
  v1::Evaluation Evaluate(absl::Span<const float> parameters, const Dataset& data) override;

 private:
  struct Layer {
    size_t inputs;
    size_t outputs;
    size_t weight;              // offset in the parameters
    size_t bias;                // offset in the parameters
    std::vector<float> values;  // after ReLU; logits for the last layer; [samples, outputs]
    std::vector<float> errors;  // derivative of the loss by the values before ReLU
  };

  // Fills every layer's values from `inputs` [samples, widths[0]].
  void Forward(absl::Span<const float> parameters, const float* inputs, size_t samples);
  // From the last layer's errors to the whole gradient; overwrites the other layers' errors.
  void Backward(absl::Span<const float> parameters, const float* inputs, size_t samples,
                absl::Span<float> gradient);

  std::vector<Layer> layers_;
  size_t dimension_ = 0;
  std::vector<float> inputs_;  // the batch's rows
};

}  // namespace gradwire
