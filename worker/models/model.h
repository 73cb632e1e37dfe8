// SPDX-License-Identifier: Apache-2.0
// What a model is to the trainer: a loss and its gradient at given parameters.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/replica/layout.h"
#include "gradwire/v1/gradient.pb.h"
#include "worker/data/dataset.h"

namespace gradwire {

// May keep buffers between calls: one thread at a time.
class Model {
 public:
  virtual ~Model() = default;

  // How many parameters it has: what the layout of its configuration has.
  virtual size_t dimension() const = 0;

  // False for models that are a function of the parameters alone.
  virtual bool needs_data() const = 0;

  // InvalidArgument when rows or labels do not fit the model, naming both.
  virtual absl::Status CheckData(const Dataset& data) const = 0;

  // Mean loss over data rows `rows` at `parameters`, its gradient into `gradient`
  // (overwritten; the layout's order, weights as [out, in]).  `data` has passed
  // CheckData; both spans hold dimension() values; `rows` is not empty where data
  // are needed.  Not a number stays not a number.
  virtual double LossAndGradient(absl::Span<const float> parameters, const Dataset& data,
                                 absl::Span<const uint32_t> rows, absl::Span<float> gradient) = 0;

  // Over the whole of `data`: loss and the model's metrics ("accuracy" for classifiers).
  // Leaves `version` to the caller.
  virtual v1::Evaluation Evaluate(absl::Span<const float> parameters, const Dataset& data) = 0;
};

// For the architectures that job.proto names, where 0 stands for the default;
// InvalidArgument names the field, or `tensors`, which belong to trainers of one's own.
absl::StatusOr<std::unique_ptr<Model>> MakeModel(const v1::ModelConfig& config);

}  // namespace gradwire
