// SPDX-License-Identifier: Apache-2.0
// The optimizers that PyTorch does not have follow their papers' recursions, written out here
// in double: FTML over z and d, Signum over the momentum.  Parameters are fp32: the references
// round them after each step, and nothing else.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/common/optimizer/training.h"

namespace gradwire {
namespace {

constexpr double kTolerance = 1e-6;  // see PathDifference

// One coordinate, for all its steps.
class Recursion {
 public:
  virtual ~Recursion() = default;
  virtual float Step(double rate, double gradient, float w) = 0;
};

// Zheng and Kwok 2017, algorithm 1, without projection: MXNet's ftml_update.
class FtmlRecursion final : public Recursion {
 public:
  FtmlRecursion(double beta1, double beta2, double eps) : beta1_(beta1), beta2_(beta2), eps_(eps) {}

  float Step(double rate, double gradient, float w) override {
    ++t_;
    v_ = beta2_ * v_ + (1 - beta2_) * gradient * gradient;
    const double d_t =
        (1 - std::pow(beta1_, t_)) / rate * (std::sqrt(v_ / (1 - std::pow(beta2_, t_))) + eps_);
    z_ = beta1_ * z_ + (1 - beta1_) * gradient - (d_t - beta1_ * d_) * w;
    d_ = d_t;
    const auto rounded = static_cast<float>(-z_ / d_t);
    z_ = -d_t * rounded;
    return rounded;
  }

 private:
  const double beta1_, beta2_, eps_;
  double t_ = 0, v_ = 0, d_ = 0, z_ = 0;
};

double Sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

// MXNet's signum_update, and for momentum 0 its signsgd_update.
class SignumRecursion final : public Recursion {
 public:
  SignumRecursion(double momentum, double weight_decay, double wd_lh)
      : momentum_(momentum), weight_decay_(weight_decay), wd_lh_(wd_lh) {}

  float Step(double rate, double gradient, float w) override {
    if (momentum_ == 0) return Moved(rate, weight_decay_ + wd_lh_, w, -Sign(gradient));
    m_ = momentum_ * m_ - (1 - momentum_) * (gradient + weight_decay_ * w);
    return Moved(rate, wd_lh_, w, Sign(m_));
  }

 private:
  static float Moved(double rate, double decay, double w, double sign) {
    return static_cast<float>((1 - rate * decay) * w + rate * sign);
  }

  const double momentum_, weight_decay_, wd_lh_;
  double m_ = 0;
};

struct Case {
  const char* spec;
  std::function<std::unique_ptr<Recursion>()> start;
};

template <class Kind>
Case Of(const char* spec, double a, double b, double c) {
  return {spec, [=] { return std::make_unique<Kind>(a, b, c); }};
}

std::vector<Case> Cases() {
  return {
      Of<FtmlRecursion>("ftml", 0.6, 0.999, 1e-8),
      Of<FtmlRecursion>("ftml:lr=0.01,beta1=0.9", 0.9, 0.999, 1e-8),
      Of<FtmlRecursion>("ftml:0.01,beta1=0,beta2=0.9,eps=1e-3", 0, 0.9, 1e-3),
      Of<SignumRecursion>("signum", 0.9, 0, 0),
      Of<SignumRecursion>("signum:lr=0.001,weight_decay=0.1", 0.9, 0.1, 0),
      Of<SignumRecursion>("signum:0.01,0.5,weight_decay=0.01,wd_lh=0.2", 0.5, 0.01, 0.2),
      Of<SignumRecursion>("signum:momentum=0", 0, 0, 0),
      Of<SignumRecursion>("signum:momentum=0,weight_decay=0.1,wd_lh=0.2", 0, 0.1, 0.2),
  };
}

void ExpectPath(const std::string& kind, const Case& c) {
  GoldenRun run(kind, c.spec);
  PathDifference difference(run.first_parameters());
  std::vector<float> want = run.first_parameters();
  std::vector<std::unique_ptr<Recursion>> recursions;
  for (size_t i = 0; i < want.size(); ++i) recursions.push_back(c.start());
  for (uint64_t step = 1; step <= kTrainingSteps; ++step) {
    const BlockValues update = run.Step();
    std::vector<double> gradient(update.dense ? 0 : kTrainingSize);
    if (update.dense) gradient.assign(update.values.begin(), update.values.end());
    for (size_t i = 0; i < update.indices.size(); ++i) {
      gradient[update.indices[i]] = update.values[i];
    }
    for (size_t i = 0; i < want.size(); ++i) {
      want[i] = recursions[i]->Step(run.learning_rate(), gradient[i], want[i]);
    }
    ASSERT_LE(difference.Between(run.parameters(), want), kTolerance)
        << kind << " " << c.spec << " step " << step;
  }
}

TEST(RecursionTest, FtmlAndSignumFollowTheirs) {
  for (const Case& c : Cases()) {
    for (const char* kind : kGradientKinds) ExpectPath(kind, c);
  }
}

// The first step of FTML is the learning rate along the sign, whatever the gradient.
TEST(RecursionTest, FtmlBeginsWithOneLearningRate) {
  Training training("ftml:lr=0.125,eps=1e-30", {1, 1, 1});
  training.Step(0.125F, {.dense = true, .indices = {}, .values = {1e-6F, -3, 1e6F}});
  EXPECT_NEAR(training.parameters()[0], 0.875, 1e-7);
  EXPECT_NEAR(training.parameters()[1], 1.125, 1e-7);
  EXPECT_NEAR(training.parameters()[2], 0.875, 1e-7);
}

TEST(RecursionTest, SignumLeavesAZeroWhereItIs) {
  for (const char* spec : {"signum", "signum:momentum=0"}) {
    Training training(spec, {3, 3, 3});
    training.Step(0.25F, {.dense = true, .indices = {}, .values = {0.0F, -0.0F, 1e-38F}});
    EXPECT_EQ(training.parameters(), (std::vector<float>{3, 3, 2.75F})) << spec;
  }
}

}  // namespace
}  // namespace gradwire
