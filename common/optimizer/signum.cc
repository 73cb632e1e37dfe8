// SPDX-License-Identifier: Apache-2.0
// Signum, and with momentum=0 SignSGD, as MXNet's (algorithms.md 3.7):
//   m = momentum m + (1 - momentum)(g + weight_decay w);  w = (1 - lr wd_lh) w - lr sign(m)
// sign(0) is 0.  Without momentum weight_decay and wd_lh are added, and decay w.
#include "common/kernels/signum.h"

#include <memory>
#include <vector>

#include "common/base/status_macros.h"
#include "common/optimizer/dense_optimizer.h"
#include "common/optimizer/parameters.h"
#include "common/optimizer/registry.h"

namespace gradwire {
namespace {

class Signum final : public DenseOptimizer {
 public:
  explicit Signum(const SpecValues& values)
      : DenseOptimizer(values.Number("lr")),
        decoupled_decay_(values.Number("wd_lh")),
        signum_{.momentum = static_cast<float>(values.Number("momentum")),
                .one_minus_momentum = static_cast<float>(1 - values.Number("momentum"))} {
    if (signum_.momentum > 0) {
      signum_.weight_decay = static_cast<float>(values.Number("weight_decay"));
    } else {
      decoupled_decay_ += values.Number("weight_decay");
    }
  }

  std::vector<StateVector> state_vectors() const override {
    if (signum_.momentum == 0) return {};
    return {{.name = "momentum"}};
  }
  bool has_first_moment() const override { return signum_.momentum > 0; }

 private:
  void Step(const StepContext& context, const float* gradient, absl::Span<float> parameters,
            absl::Span<const absl::Span<float>> state) const override {
    SignumParameters signum = signum_;
    signum.learning_rate = context.learning_rate;
    signum.decay = static_cast<float>(context.learning_rate * decoupled_decay_);
    float* momentum = state.empty() ? nullptr : state.front().data();
    SignumStep(signum, gradient, momentum, parameters.data(), parameters.size());
  }

  double decoupled_decay_;
  SignumParameters signum_;
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters = {
      LearningRateParameter("0.01"),
      DecayParameter("momentum", "0.9", "of the old buffer, a step; 0 is SignSGD"),
      WeightDecayParameter(),
      {.name = "wd_lh",
       .default_value = "0",
       .max = 1,
       .help = "decoupled decay: share of the parameters that goes, times the learning rate"},
  };
  return parameters;
}

absl::StatusOr<std::unique_ptr<Optimizer>> Make(const SpecValues& values) {
  GRADWIRE_RETURN_IF_ERROR(CheckBelowOne(values, {"momentum"}));
  return std::make_unique<Signum>(values);
}

}  // namespace

// For the table in registry.cc.
OptimizerEntry SignumEntry() {
  return {.name = "signum",
          .summary = "a step of one size along the sign of the momentum",
          .source = "Bernstein et al. 2018, arXiv 1802.04434; MXNet",
          .state = "1 vector; without momentum none",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
