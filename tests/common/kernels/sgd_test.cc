// SPDX-License-Identifier: Apache-2.0
// The SGD loop against torch.optim.SGD, and its bits under every target.
#include "common/kernels/sgd.h"

#include <array>

#include "gtest/gtest.h"
#include "tests/common/kernels/targets.h"

namespace gradwire {
namespace {

// From torch 1.13 (float32, foreach off): four steps at these gradients and learning
// rates, parameters 1, -2, 0.5 at first.
struct TorchCase {
  float momentum;
  float dampening;
  float weight_decay;
  bool nesterov;
  std::array<float, 3> want;
};

constexpr float kGradients[4][3] = {
    {0.5f, -1.0f, 0.25f}, {1.5f, 0.125f, -2.0f}, {-0.75f, 3.0f, 0.0f}, {0.25f, -0.5f, 1.0f}};
constexpr float kLearningRates[] = {0.1f, 0.1f, 0.01f, 0.2f};
constexpr TorchCase kTorchCases[] = {
    {0.0f, 0.0f, 0.0f, false, {0.757499993f, -1.84249997f, 0.475000024f}},
    {0.0f, 0.0f, 0.1f, false, {0.721573055f, -1.76378977f, 0.451342016f}},
    {0.9f, 0.0f, 0.0f, false, {0.514050007f, -2.15997505f, 0.756024957f}},
    {0.9f, 0.5f, 0.0f, false, {0.671050012f, -1.90803742f, 0.585025012f}},
    {0.9f, 0.0f, 0.1f, true, {0.218831509f, -1.74853921f, 0.62491554f}},
    {0.5f, 0.25f, 0.01f, false, {0.756489873f, -1.99943173f, 0.53525418f}},
};

TEST(SgdStepTest, FollowsTorch) {
  for (const TorchCase& c : kTorchCases) {
    SCOPED_TRACE(testing::Message() << "momentum " << c.momentum << " dampening " << c.dampening
                                    << " weight decay " << c.weight_decay);
    ForEachTarget([&] {
      std::vector<float> parameters = {1.0f, -2.0f, 0.5f};
      std::vector<float> buffer(3, 99.0f);  // overwritten on the first step
      for (int step = 0; step < 4; ++step) {
        SgdStep({.learning_rate = kLearningRates[step],
                 .momentum = c.momentum,
                 .dampening = c.dampening,
                 .weight_decay = c.weight_decay,
                 .nesterov = c.nesterov,
                 .first = step == 0},
                kGradients[step], c.momentum == 0 ? nullptr : buffer.data(), parameters.data(), 3);
      }
      for (int i = 0; i < 3; ++i) EXPECT_NEAR(parameters[i], c.want[i], 3e-7f);
    });
  }
}

TEST(SgdStepTest, EveryTargetGivesTheScalarBits) {
  for (const TorchCase& c : kTorchCases) {
    for (const size_t n : TestSizes()) {
      for (size_t offset = 0; offset < 4; ++offset) {
        const std::vector<float> gradient = ValuesWithNonFinite(n + offset, 5);
        const auto run = [&] {
          std::vector<float> parameters = HardValues(n + offset + 1, 6);
          std::vector<float> buffer = HardValues(n + offset + 1, 7);
          for (const bool first : {true, false}) {
            SgdStep({.learning_rate = 0.1f,
                     .momentum = c.momentum,
                     .dampening = c.dampening,
                     .weight_decay = c.weight_decay,
                     .nesterov = c.nesterov,
                     .first = first},
                    gradient.data() + offset, c.momentum == 0 ? nullptr : buffer.data() + offset,
                    parameters.data() + offset, n);
          }
          parameters.insert(parameters.end(), buffer.begin(), buffer.end());
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
