// SPDX-License-Identifier: Apache-2.0
// For tests: a check under every kernel target of this processor, and values
// that are hard on float loops.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "common/kernels/target.h"
#include "gtest/gtest.h"

namespace gradwire {

// Calls check() with each target in force, then goes back to the best.
template <class Check>
void ForEachTarget(const Check& check) {
  for (const std::string& name : KernelTargets()) {
    SCOPED_TRACE("target " + name);
    ASSERT_TRUE(SetKernelTarget(name).ok());
    check();
  }
  ASSERT_TRUE(SetKernelTarget("auto").ok());
}

inline const std::vector<size_t>& TestSizes() {
  static const auto* const sizes = new std::vector<size_t>{0, 1, 7, 8, 9, 64, 1000};
  return *sizes;
}

// Finite floats: zeros of both signs, denormals, ties, limits, and random ones of all sizes.
inline std::vector<float> HardValues(size_t n, uint32_t seed) {
  const float hard[] = {0.0f,        -0.0f,        1e-45f,       -1e-45f,       1.1754942e-38f,
                        1e-40f,      1.0f,         -1e38f,       1.7e38f,       65504.0f,
                        65519.996f,  65520.0f,     6.1e-5f,      5.9604645e-8f, 3e-8f,
                        1.00390625f, -1.01171875f, 3.3895314e38f};
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> fraction(-1.0f, 1.0f);
  std::vector<float> values(n);
  for (float& value : values) {
    value = random() % 3 == 0 ? hard[random() % std::size(hard)]
                              : std::ldexp(fraction(random), static_cast<int>(random() % 60) - 30);
  }
  return values;
}

// The same with NaN and infinities among them.
inline std::vector<float> ValuesWithNonFinite(size_t n, uint32_t seed) {
  std::vector<float> values = HardValues(n, seed);
  const float non_finite[] = {std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity(),
                              std::numeric_limits<float>::quiet_NaN()};
  for (size_t i = seed % 5; i < n; i += 5) values[i] = non_finite[i % 3];
  return values;
}

inline std::vector<uint32_t> BitsOf(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  bits.reserve(values.size());
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

}  // namespace gradwire
