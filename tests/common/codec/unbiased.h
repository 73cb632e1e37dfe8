// SPDX-License-Identifier: Apache-2.0
// For tests of codecs that round by chance: the measured mean of every coordinate against what
// it is to be.
#pragma once

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/common/codec/error_law.h"

namespace gradwire {

// A coordinate that is rounded up by `step` with probability `chance`: its variance is
// step^2 chance (1 - chance).
struct Rounding {
  double step = 0;
  double chance = 0;

  double variance() const { return step * step * chance * (1 - chance); }
};

// 4.5 standard errors for a mean of `draws`: of a thousand coordinates one is beyond with
// probability below 1 %.  7 steps / draws are Bernstein's second term for such odds: a coordinate
// that is rarely rounded up has no normal mean.  The last is for products rounded to fp32.
inline void ExpectMeans(const MeasuredError& measured, const std::vector<double>& want,
                        const std::vector<Rounding>& rounding, size_t draws) {
  const auto n = static_cast<double>(draws);
  for (size_t i = 0; i < want.size(); ++i) {
    const double limit = 4.5 * std::sqrt(rounding[i].variance() / n) + 7 * rounding[i].step / n +
                         std::fabs(want[i]) * 0x1p-22;
    EXPECT_NEAR(measured.decoded_mean[i], want[i], limit) << "coordinate " << i;
  }
}

// The mean of |C(x) - x|^2 / |x|^2 within three standard errors, or fp32 rounding if none is
// random.
inline void ExpectError(const MeasuredError& measured, double want) {
  EXPECT_NEAR(measured.mean, want, 3 * measured.standard_error + want * 1e-6);
}

inline double SquaredNorm(const std::vector<float>& x) {
  double norm = 0;
  for (const float value : x) norm += double{value} * double{value};
  return norm;
}

}  // namespace gradwire
