// SPDX-License-Identifier: Apache-2.0
// For tests of codecs: the error of a codec over many draws, to be held against its mu or omega.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "tests/common/codec/codec_cases.h"

namespace gradwire {

// Of |C(x) - x|^2 / |x|^2, and of C(x) by coordinate.
struct MeasuredError {
  double mean = 0;
  double standard_error = 0;  // of the mean
  std::vector<double> decoded_mean;
  std::vector<double> decoded_standard_error;
};

// Encodes the same x in steps 1..draws, so that all random numbers differ, and looks at what
// each payload stands for alone.
inline MeasuredError MeasureError(const Codec& codec, BlockKey key, const std::vector<float>& x,
                                  size_t draws = 10000) {
  MeasuredError measured;
  std::vector<double> sums(x.size());
  std::vector<double> squares(x.size());
  double norm = 0;
  for (const float value : x) norm += double{value} * double{value};
  double sum = 0;
  double square = 0;
  for (size_t draw = 1; draw <= draws; ++draw) {
    key.step = draw;
    const std::vector<float> decoded = Decoded(codec, key, Encoded(codec, key, x));
    double error = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double value = decoded[i];
      error += (value - double{x[i]}) * (value - double{x[i]});
      sums[i] += value;
      squares[i] += value * value;
    }
    sum += error / norm;
    square += error / norm * (error / norm);
  }
  const auto n = static_cast<double>(draws);
  const auto standard_error = [n](double total, double total_of_squares) {
    const double mean = total / n;
    return std::sqrt(std::max(0.0, total_of_squares / n - mean * mean) / n);
  };
  measured.mean = sum / n;
  measured.standard_error = standard_error(sum, square);
  for (size_t i = 0; i < x.size(); ++i) {
    measured.decoded_mean.push_back(sums[i] / n);
    measured.decoded_standard_error.push_back(standard_error(sums[i], squares[i]));
  }
  return measured;
}

}  // namespace gradwire
