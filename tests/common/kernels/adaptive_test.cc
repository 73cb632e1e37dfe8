// SPDX-License-Identifier: Apache-2.0
// The loops of the adaptive optimizers: steps worked out by hand, and their bits under
// every target.  Against PyTorch they are compared with the optimizers on top of them.
#include "common/kernels/adaptive.h"

#include <functional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/common/kernels/targets.h"

namespace gradwire {
namespace {

// Three vectors of state, of which a loop takes what it has use for.
using Vectors = std::vector<std::vector<float>>;
using Loop = std::function<void(const float* gradient, const std::vector<float*>& state,
                                float* parameters, size_t n)>;

Loop Adagrad(float weight_decay) {
  return [=](const float* gradient, const std::vector<float*>& state, float* parameters, size_t n) {
    AdagradStep({.learning_rate = 0.1F, .epsilon = 1e-10F, .weight_decay = weight_decay}, gradient,
                state[0], parameters, n);
  };
}

Loop Rmsprop(bool centered, bool momentum, float weight_decay) {
  return [=](const float* gradient, const std::vector<float*>& state, float* parameters, size_t n) {
    RmspropStep({.learning_rate = 0.1F,
                 .alpha = 0.99F,
                 .one_minus_alpha = 0.01F,
                 .epsilon = 1e-8F,
                 .weight_decay = weight_decay,
                 .momentum = 0.9F},
                gradient,
                {.square_average = state[0],
                 .gradient_average = centered ? state[1] : nullptr,
                 .momentum_buffer = momentum ? state[2] : nullptr},
                parameters, n);
  };
}

Loop Adadelta(float weight_decay) {
  return [=](const float* gradient, const std::vector<float*>& state, float* parameters, size_t n) {
    AdadeltaStep({.learning_rate = 1,
                  .rho = 0.9F,
                  .one_minus_rho = 0.1F,
                  .epsilon = 1e-6F,
                  .weight_decay = weight_decay},
                 gradient, state[0], state[1], parameters, n);
  };
}

Loop Adam(bool amsgrad, float weight_decay, float keep) {
  return [=](const float* gradient, const std::vector<float*>& state, float* parameters, size_t n) {
    AdamStep({.step_size = 0.003F,
              .second_correction = 0.3F,
              .keep = keep,
              .beta1 = 0.9F,
              .one_minus_beta1 = 0.1F,
              .beta2 = 0.999F,
              .one_minus_beta2 = 0.001F,
              .epsilon = 1e-8F,
              .weight_decay = weight_decay},
             gradient,
             {.first = state[0], .second = state[1], .max_second = amsgrad ? state[2] : nullptr},
             parameters, n);
  };
}

void Ftml(const float* gradient, const std::vector<float*>& state, float* parameters, size_t n) {
  FtmlStep({.step_size = 0.003F,
            .second_correction = 0.3F,
            .beta2 = 0.999F,
            .one_minus_beta2 = 0.001F,
            .epsilon = 1e-8F},
           gradient, state[0], parameters, n);
}

std::vector<std::pair<const char*, Loop>> Loops() {
  return {
      {"adagrad", Adagrad(0)},
      {"adagrad decay", Adagrad(0.1F)},
      {"rmsprop", Rmsprop(false, false, 0)},
      {"rmsprop centered", Rmsprop(true, false, 0.1F)},
      {"rmsprop momentum", Rmsprop(false, true, 0.1F)},
      {"rmsprop centered momentum", Rmsprop(true, true, 0)},
      {"adadelta", Adadelta(0)},
      {"adadelta decay", Adadelta(0.1F)},
      {"adam", Adam(false, 0, 1)},
      {"adam decay", Adam(false, 0.1F, 1)},
      {"amsgrad decoupled", Adam(true, 0, 0.99F)},
      {"ftml", Ftml},
  };
}

// Parameters and state after three steps, as bits.  Averages of squares begin positive.
std::vector<uint32_t> Bits(const Loop& loop, size_t n, size_t offset) {
  std::vector<float> parameters = HardValues(n + offset + 1, 6);
  Vectors state;
  std::vector<float*> pointers;
  for (uint32_t i = 0; i < 3; ++i) state.push_back(HardValues(n + offset + 1, 7 + i));
  for (std::vector<float>& vector : state) {
    for (float& value : vector) value = std::fabs(value);
    pointers.push_back(vector.data() + offset);
  }
  for (uint32_t step = 0; step < 3; ++step) {
    const std::vector<float> gradient = HardValues(n + offset, 20 + step);
    loop(gradient.data() + offset, pointers, parameters.data() + offset, n);
  }
  for (const std::vector<float>& vector : state) {
    parameters.insert(parameters.end(), vector.begin(), vector.end());
  }
  return BitsOf(parameters);
}

TEST(AdaptiveTest, EveryTargetGivesTheScalarBits) {
  for (const auto& [name, loop] : Loops()) {
    SCOPED_TRACE(name);
    for (const size_t n : TestSizes()) {
      for (size_t offset = 0; offset < 4; ++offset) {
        ASSERT_TRUE(SetKernelTarget("scalar").ok());
        const std::vector<uint32_t> want = Bits(loop, n, offset);
        ForEachTarget([&, &wanted_loop = loop] { EXPECT_EQ(Bits(wanted_loop, n, offset), want); });
      }
    }
  }
}

// In what follows all numbers are exact in binary, so that there is one right answer.
using Pair = std::vector<float>;

TEST(AdaptiveTest, AdagradStepByHand) {
  ForEachTarget([] {
    const Pair gradient = {6, -6};
    Pair sum = {28, 28};
    Pair w = {8, 8};
    // sum = 28 + 36 = 64; 8 -+ 2 * 6 / 8
    AdagradStep({.learning_rate = 2}, gradient.data(), sum.data(), w.data(), 2);
    EXPECT_EQ(sum, (Pair{64, 64}));
    EXPECT_EQ(w, (Pair{6.5F, 9.5F}));
  });
}

TEST(AdaptiveTest, RmspropStepByHand) {
  ForEachTarget([] {
    const RmspropParameters rmsprop = {
        .learning_rate = 0.5F, .alpha = 0.5F, .one_minus_alpha = 0.5F, .momentum = 0.5F};
    const Pair gradient = {6, -6};
    Pair square = {28 + 4, 28 + 4};
    Pair average = {4, -4};
    Pair buffer = {2, 2};
    Pair w = {8, 8};
    // v = 16 + 18 = 34, m = 2 + 3 = 5, d = sqrt(34 - 25) = 3; buffer = 1 +- 6 / 3
    RmspropStep(rmsprop, gradient.data(),
                {.square_average = square.data(),
                 .gradient_average = average.data(),
                 .momentum_buffer = buffer.data()},
                w.data(), 2);
    EXPECT_EQ(square, (Pair{34, 34}));
    EXPECT_EQ(average, (Pair{5, -5}));
    EXPECT_EQ(buffer, (Pair{3, -1}));
    EXPECT_EQ(w, (Pair{6.5F, 8.5F}));
    // v = 18 + 18 = 36, d = 6; w -+ 0.5 * 6 / 6
    square = {36, 36};
    RmspropStep(rmsprop, gradient.data(), {.square_average = square.data()}, w.data(), 2);
    EXPECT_EQ(w, (Pair{6, 9}));
  });
}

TEST(AdaptiveTest, AdadeltaStepByHand) {
  ForEachTarget([] {
    const Pair gradient = {6, -6};
    Pair square = {28, 28};
    Pair delta = {5, 5};
    Pair w = {8, 8};
    // v + eps = 14 + 18 + 4 = 36; delta = +- sqrt(5 + 4) / 6 * 6 = +-3; u = 2.5 + 4.5 = 7
    AdadeltaStep({.learning_rate = 2, .rho = 0.5F, .one_minus_rho = 0.5F, .epsilon = 4},
                 gradient.data(), square.data(), delta.data(), w.data(), 2);
    EXPECT_EQ(square, (Pair{32, 32}));
    EXPECT_EQ(delta, (Pair{7, 7}));
    EXPECT_EQ(w, (Pair{2, 14}));
  });
}

TEST(AdaptiveTest, AdamStepByHand) {
  ForEachTarget([] {
    const Pair gradient = {6, 6};
    Pair first = {28, 28};
    Pair second = {64, 64};
    Pair largest = {256, 16};
    Pair w = {8, 8};
    // g = 6 + 0.25 * 8 = 8; m = 14 + 4 = 18; v = 32 + 32 = 64, largest 256 and 64; 0.75 * 8
    // - 2 * 18 / (16 / 4 + 5), and - 2 * 18 / (8 / 4 + 5) rounded
    AdamStep({.step_size = 2,
              .second_correction = 4,
              .keep = 0.75F,
              .beta1 = 0.5F,
              .one_minus_beta1 = 0.5F,
              .beta2 = 0.5F,
              .one_minus_beta2 = 0.5F,
              .epsilon = 5,
              .weight_decay = 0.25F},
             gradient.data(),
             {.first = first.data(), .second = second.data(), .max_second = largest.data()},
             w.data(), 2);
    EXPECT_EQ(first, (Pair{18, 18}));
    EXPECT_EQ(second, (Pair{64, 64}));
    EXPECT_EQ(largest, (Pair{256, 64}));
    EXPECT_EQ(w, (Pair{2, 6 - 36.0F / 7}));
  });
}

TEST(AdaptiveTest, FtmlStepByHand) {
  ForEachTarget([] {
    const Pair gradient = {6, -6};
    Pair second = {28, 28};
    Pair w = {8, 8};
    // v = 14 + 18 = 32; sqrt(32 / 0.5) + 4 = 12; 8 -+ 2 * 6 / 12
    FtmlStep({.step_size = 2,
              .second_correction = 0.5F,
              .beta2 = 0.5F,
              .one_minus_beta2 = 0.5F,
              .epsilon = 4},
             gradient.data(), second.data(), w.data(), 2);
    EXPECT_EQ(second, (Pair{32, 32}));
    EXPECT_EQ(w, (Pair{7, 9}));
  });
}

}  // namespace
}  // namespace gradwire
