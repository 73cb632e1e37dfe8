// SPDX-License-Identifier: Apache-2.0
// Implementation of dense_optimizer.h.
#include "common/optimizer/dense_optimizer.h"

#include <vector>

namespace gradwire {

void DenseOptimizer::Apply(const StepContext& context, const BlockValues& update,
                           absl::Span<float> parameters,
                           absl::Span<const absl::Span<float>> state) const {
  if (update.dense) return Step(context, update.values.data(), parameters, state);
  std::vector<float> gradient(parameters.size(), 0.0F);
  for (size_t i = 0; i < update.indices.size(); ++i) {
    gradient[update.indices[i]] = update.values[i];
  }
  Step(context, gradient.data(), parameters, state);
}

}  // namespace gradwire
