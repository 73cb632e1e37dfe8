// SPDX-License-Identifier: Apache-2.0
// The Signum loop: steps worked out by hand, and its bits under every target.
#include "common/kernels/signum.h"

#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "tests/common/kernels/targets.h"

namespace gradwire {
namespace {

TEST(SignumStepTest, MovesByTheSign) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> gradient = {3, -1e-45F, 0.0F, -0.0F, kNan, -kInfinity, 1e-45F, -5, 7};
  const std::vector<float> want = {1.5F, 2.5F, 2, 2, 2, 2.5F, 1.5F, 2.5F, 1.5F};
  ForEachTarget([&] {
    std::vector<float> parameters(gradient.size(), 4.0F);
    SignumStep({.learning_rate = 0.5F, .decay = 0.5F}, gradient.data(), nullptr, parameters.data(),
               gradient.size());
    EXPECT_EQ(parameters, want);
  });
}

TEST(SignumStepTest, DecayGoesIntoTheMomentum) {
  ForEachTarget([&] {
    const float gradient = -3;
    float momentum = -4;
    float parameter = 8;
    // m = 0.5 * -4 + 0.5 * (-3 + 0.5 * 8) = -1.5
    SignumStep({.learning_rate = 0.25F,
                .momentum = 0.5F,
                .one_minus_momentum = 0.5F,
                .weight_decay = 0.5F},
               &gradient, &momentum, &parameter, 1);
    EXPECT_EQ(momentum, -1.5F);
    EXPECT_EQ(parameter, 8.25F);
  });
}

TEST(SignumStepTest, EveryTargetGivesTheScalarBits) {
  for (const bool with_momentum : {false, true}) {
    for (const size_t n : TestSizes()) {
      for (size_t offset = 0; offset < 4; ++offset) {
        const std::vector<float> gradient = HardValues(n + offset, 5);
        const auto run = [&] {
          std::vector<float> parameters = HardValues(n + offset + 1, 6);
          std::vector<float> momentum = HardValues(n + offset + 1, 7);
          SignumStep({.learning_rate = 0.1F,
                      .momentum = 0.9F,
                      .one_minus_momentum = 0.1F,
                      .weight_decay = with_momentum ? 0.01F : 0,
                      .decay = 0.01F},
                     gradient.data() + offset, with_momentum ? momentum.data() + offset : nullptr,
                     parameters.data() + offset, n);
          parameters.insert(parameters.end(), momentum.begin(), momentum.end());
          return BitsOf(parameters);
        };
        ASSERT_TRUE(SetKernelTarget("scalar").ok());
        const std::vector<uint32_t> want = run();
        ForEachTarget([&] { EXPECT_EQ(run(), want); });
      }
    }
  }
}

}  // namespace
}  // namespace gradwire
