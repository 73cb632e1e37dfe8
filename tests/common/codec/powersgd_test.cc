// SPDX-License-Identifier: Apache-2.0
// The codec `powersgd` against what linear algebra says: projections, the power iteration's limit,
// the mean of factors; and the bases that replicas share.
#include <cmath>
#include <limits>
#include <vector>

#include "common/codec/low_rank.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"
#include "tests/common/codec/unbiased.h"

namespace gradwire {
namespace {

using testing::HasSubstr;
using Matrix = std::vector<std::vector<double>>;  // columns

constexpr float kRight = 1;
constexpr float kLeft = 2;

// A block and its basis, as a replica keeps them.
struct Replicated {
  Replicated(const Codec& codec, size_t rows, size_t columns, uint64_t seed = 5)
      : key{.seed = seed, .step = 1, .block = 2, .size = rows * columns, .columns = columns},
        basis(codec.basis_size(key), 0.0f) {
    key.basis = basis;
  }

  void Advance(const Codec& codec, const std::string& payload) {
    std::vector<float> next(basis.size(), -9.0f);
    codec.NextBasis(key, payload, absl::MakeSpan(next));
    basis = next;
    key.basis = basis;
    ++key.step;
  }

  BlockKey key;
  std::vector<float> basis;
};

Matrix ColumnsOf(const float* values, size_t length, size_t count) {
  Matrix columns;
  for (size_t j = 0; j < count; ++j) {
    columns.emplace_back(values + j * length, values + (j + 1) * length);
  }
  return columns;
}

double Dot(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

void ExpectOrthonormal(const Matrix& columns) {
  for (size_t i = 0; i < columns.size(); ++i) {
    for (size_t j = 0; j <= i; ++j) {
      EXPECT_NEAR(Dot(columns[i], columns[j]), i == j ? 1 : 0, 1e-6) << i << " " << j;
    }
  }
}

// The energy of a matrix in the span of orthonormal columns: on its rows, or on its columns.
double EnergyIn(const Matrix& basis, const std::vector<float>& m, size_t columns, bool right) {
  const size_t rows = m.size() / columns;
  double energy = 0;
  for (const std::vector<double>& direction : basis) {
    for (size_t k = 0; k < (right ? rows : columns); ++k) {
      double share = 0;
      for (size_t i = 0; i < direction.size(); ++i) {
        share += direction[i] * double{right ? m[k * columns + i] : m[i * columns + k]};
      }
      energy += share * share;
    }
  }
  return energy;
}

double ErrorOf(const std::vector<float>& x, const std::vector<float>& decoded) {
  double error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += (double{x[i]} - double{decoded[i]}) * (double{x[i]} - double{decoded[i]});
  }
  return error;
}

// M = sum of s_k u_k transpose(v_k), with u, v from a Householder reflection: orthonormal.
std::vector<float> WithSingularValues(size_t rows, size_t columns, const std::vector<double>& s) {
  const auto reflected = [](size_t i, size_t k, size_t n) {
    return (i == k ? 1.0 : 0.0) - 2.0 / static_cast<double>(n);
  };
  std::vector<float> m(rows * columns);
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < columns; ++j) {
      double sum = 0;
      for (size_t k = 0; k < s.size(); ++k) {
        sum += s[k] * reflected(i, k, rows) * reflected(j, k, columns);
      }
      m[i * columns + j] = static_cast<float>(sum);
    }
  }
  return m;
}

TEST(PowersgdTest, OnlyAMatrixThatFactorsMakeSmallerTravelsAsAFactor) {
  struct Case {
    const char* spec;
    size_t rows;
    size_t columns;  // 0: a vector
    size_t values;   // of a payload
  };
  const Case cases[] = {
      {"powersgd", 20, 30, 20},    {"powersgd:4", 20, 30, 80},    {"powersgd", 1, 0, 1},
      {"powersgd", 600, 0, 600},   {"powersgd", 4, 4, 16},        {"powersgd", 5, 5, 5},
      {"powersgd:8", 20, 30, 600}, {"powersgd:256", 20, 30, 600}, {"powersgd", 1, 900, 900},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.spec);
    const auto codec = Make(c.spec);
    Replicated at(*codec, c.rows, std::max<size_t>(c.columns, 1));
    at.key.columns = c.columns;
    const std::vector<float> x = RandomValues(at.key.size, 1);
    const std::string payload = Encoded(*codec, at.key, x);
    EXPECT_EQ(payload.size(), 4 * c.values);
    EXPECT_EQ(codec->basis_size(at.key) > 0, c.values < at.key.size);
    if (c.values == at.key.size) {
      EXPECT_EQ(Decoded(*codec, at.key, payload), x);
    }
  }
}

// First with the right basis, then with the left one.
TEST(PowersgdTest, TheErrorIsTheEnergyOutsideTheBasis) {
  const size_t rows = 33;
  const size_t columns = 21;
  const auto codec = Make("powersgd:3");
  Replicated at(*codec, rows, columns);
  for (const bool right : {true, false, true, false}) {
    const std::vector<float> x = RandomValues(rows * columns, right ? 1 : 2);
    // At first the basis is what low_rank.h makes of nothing.
    std::vector<float> basis(at.basis.begin() + 1, at.basis.end());
    if (at.key.step == 1) {
      Orthonormalize(columns, 3, {.seed = 5, .purpose = Purpose::kBasis, .step = 1, .block = 2},
                     basis.data());
    } else {
      EXPECT_EQ(at.basis[0], right ? kRight : kLeft);
    }
    const Matrix directions = ColumnsOf(basis.data(), right ? columns : rows, 3);
    ExpectOrthonormal(directions);
    const std::string payload = Encoded(*codec, at.key, x);
    EXPECT_EQ(payload.size(), 4 * 3 * (right ? rows : columns));
    const double energy = SquaredNorm(x);
    const double kept = EnergyIn(directions, x, columns, right);
    EXPECT_GT(kept, 0.02 * energy);
    EXPECT_NEAR(ErrorOf(x, Decoded(*codec, at.key, payload)), energy - kept, 1e-5 * energy);
    at.Advance(*codec, payload);
  }
}

// Normal columns span a uniformly random subspace: E mu = r / columns, whatever x.
TEST(PowersgdTest, TheFirstBasisKeepsRankOverColumnsOfTheEnergyOnAverage) {
  const size_t rows = 12;
  const size_t columns = 25;
  for (const size_t rank : {1, 2}) {
    const auto codec = Make("powersgd:" + std::to_string(rank));
    const std::vector<float> zeros(codec->basis_size({.size = rows * columns, .columns = columns}));
    std::vector<float> x = RandomValues(rows * columns, 3);
    x[7] = 40;  // no law of the values' own
    const BlockKey key = {
        .seed = 9, .block = 1, .size = rows * columns, .columns = columns, .basis = zeros};
    const MeasuredError measured = MeasureError(*codec, key, x);  // by step, so by basis
    ExpectError(measured, 1 - static_cast<double>(rank) / static_cast<double>(columns));
  }
}

// A matrix that stays the same: each step is half of one of the power iteration, whose limit is
// the best approximation of the rank, with the energy of the other singular values as its error.
TEST(PowersgdTest, WarmStartFindsTheBestApproximation) {
  const std::vector<double> s = {8, 5, 2, 1};
  const std::vector<float> m = WithSingularValues(40, 30, s);
  const double energy = 64 + 25 + 4 + 1;
  const std::pair<size_t, double> cases[] = {{1, 25 + 4 + 1}, {2, 4 + 1}, {3, 1}, {4, 0}, {6, 0}};
  for (const auto& [rank, left] : cases) {
    SCOPED_TRACE(rank);
    const auto codec = Make("powersgd:" + std::to_string(rank));
    Replicated at(*codec, 40, 30);
    double error = energy;
    for (int step = 0; step < 30; ++step) {
      const std::string payload = Encoded(*codec, at.key, m);
      const double before = error;
      error = ErrorOf(m, Decoded(*codec, at.key, payload));
      EXPECT_LE(error, before * (1 + 1e-6) + 1e-9 * energy) << "it never grows; step " << step;
      if (rank >= s.size() && step >= 1) {
        EXPECT_LT(error, 1e-9 * energy) << "exact from step 2 on";
      }
      at.Advance(*codec, payload);
    }
    EXPECT_NEAR(error, left, 1e-5 * energy);
  }
}

TEST(PowersgdTest, TheMeanIsTheProjectionOfTheMeanAndTheUpdateItsFactor) {
  const size_t rows = 50;
  const size_t columns = 40;
  const auto codec = Make("powersgd:2");
  Replicated at(*codec, rows, columns);
  for (int step = 0; step < 3; ++step) {
    std::vector<double> average(rows * columns);
    Accumulator sum;
    for (uint32_t worker = 0; worker < 4; ++worker) {
      const std::vector<float> x = RandomValues(rows * columns, 10 + worker);
      for (size_t i = 0; i < x.size(); ++i) average[i] += double{x[i]} / 4;
      ASSERT_TRUE(codec->Accumulate(at.key, Encoded(*codec, at.key, x), &sum).ok());
    }
    BlockValues mean;
    codec->Mean(at.key, sum, &mean);
    const std::vector<float> x(average.begin(), average.end());
    const std::vector<float> want = Decoded(*codec, at.key, Encoded(*codec, at.key, x));
    std::string update_bytes;
    codec->EncodeUpdate(at.key, mean, &update_bytes);
    EXPECT_EQ(update_bytes.size(), Encoded(*codec, at.key, x).size());
    BlockValues update;
    ASSERT_TRUE(codec->DecodeUpdate(at.key, update_bytes, &update).ok());
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(mean.values[i], want[i], 1e-6);
      EXPECT_NEAR(update.values[i], mean.values[i], 1e-6);
    }
    at.Advance(*codec, update_bytes);
  }
}

TEST(PowersgdTest, ResidualsBringEverythingForAMatrixOfAnyRank) {
  const auto codec = Make("powersgd:2");
  Replicated at(*codec, 30, 20);
  const std::vector<float> gradient = RandomValues(600, 4);
  std::vector<float> residual(600, 0.0f);
  std::vector<double> sent(600);
  const int steps = 400;
  for (int step = 0; step < steps; ++step) {
    for (size_t i = 0; i < 600; ++i) residual[i] += gradient[i];
    std::string payload;
    codec->Encode(at.key, absl::MakeSpan(residual), &payload);
    const std::vector<float> decoded = Decoded(*codec, at.key, payload);
    for (size_t i = 0; i < 600; ++i) sent[i] += decoded[i];
    at.Advance(*codec, payload);
  }
  // What is still missing is a few gradients, of 400.
  double missing = 0;
  for (size_t i = 0; i < 600; ++i) missing += std::pow(sent[i] - steps * double{gradient[i]}, 2);
  EXPECT_LT(missing, std::pow(20, 2) * SquaredNorm(gradient));
}

TEST(PowersgdTest, ANextBasisIsOrthonormalWhateverTheUpdateWas) {
  const size_t rows = 24;
  const auto codec = Make("powersgd:3");
  const float greatest = std::numeric_limits<float>::max();
  std::vector<float> equal(3 * rows, 1.0f);
  std::vector<float> nearly = equal;
  nearly[0] = 1 + 1e-7f;
  std::vector<float> middle_zero = RandomValues(3 * rows, 5);
  std::fill_n(middle_zero.begin() + rows, rows, 0.0f);
  const std::vector<float> factors[] = {std::vector<float>(3 * rows, 0.0f),
                                        equal,
                                        nearly,
                                        middle_zero,
                                        std::vector<float>(3 * rows, 1e-45f),
                                        std::vector<float>(3 * rows, -greatest)};
  for (const std::vector<float>& factor : factors) {
    Replicated at(*codec, rows, 24);
    at.Advance(*codec, std::string(reinterpret_cast<const char*>(factor.data()), 12 * rows));
    EXPECT_EQ(at.basis[0], kLeft);
    ExpectOrthonormal(ColumnsOf(at.basis.data() + 1, rows, 3));
  }
}

TEST(PowersgdTest, NearTheGreatestFloatNothingIsSentAndNothingIsLost) {
  const auto codec = Make("powersgd");
  const Replicated at(*codec, 30, 20);
  const std::vector<float> x(600, std::numeric_limits<float>::max());
  std::vector<float> residual = x;
  std::string payload;
  codec->Encode(at.key, absl::MakeSpan(residual), &payload);
  EXPECT_EQ(residual, x);
  EXPECT_EQ(Decoded(*codec, at.key, payload), std::vector<float>(600, 0.0f));
}

TEST(PowersgdTest, WhatAnUpdateMakesBeyondTheGreatestFloatIsThatFloat) {
  const auto codec = Make("powersgd:2");
  Replicated at(*codec, 30, 20);
  at.basis[0] = kRight;
  at.basis[1] = at.basis[22] = 0.8f;  // (0.8, 0.6, 0, ...) and (0.6, 0.8, 0, ...): enough here
  at.basis[2] = at.basis[21] = 0.6f;
  const float greatest = std::numeric_limits<float>::max();
  const std::vector<float> factor(60, -greatest);
  BlockValues update;
  ASSERT_TRUE(codec
                  ->DecodeUpdate(at.key,
                                 std::string(reinterpret_cast<const char*>(factor.data()), 240),
                                 &update)
                  .ok());
  std::vector<float> want(600, 0.0f);
  for (size_t row = 0; row < 30; ++row) want[20 * row] = want[20 * row + 1] = -greatest;
  EXPECT_EQ(update.values, want);
  std::string bytes;
  codec->EncodeUpdate(at.key, update, &bytes);
  EXPECT_EQ(bytes, std::string(reinterpret_cast<const char*>(factor.data()), 240));
}

TEST(PowersgdTest, WrongFactorsAreRefusedNamingWhatIsAllowed) {
  const auto codec = Make("powersgd:2");
  const Replicated at(*codec, 30, 20);
  std::string payload = Encoded(*codec, at.key, RandomValues(600, 6));
  const std::string nan32("\x01\x00\x80\x7F", 4);
  std::string damaged = payload;
  damaged.replace(4 * 17, 4, nan32);
  Accumulator sum;
  EXPECT_THAT(std::string(codec->Accumulate(at.key, damaged, &sum).message()),
              testing::AllOf(HasSubstr("factor"), HasSubstr("coordinate 17"), HasSubstr("nan")));
  const absl::Status status = codec->Accumulate(at.key, payload.substr(0, 80), &sum);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr("80 bytes"), HasSubstr("rank 2"), HasSubstr("has 240")));
  EXPECT_EQ(sum.payloads, 0u);
  for (const char* spec : {"powersgd:0", "powersgd:1.5", "powersgd:257"}) {
    EXPECT_EQ(MakeCodec(spec).status().code(), absl::StatusCode::kInvalidArgument) << spec;
  }
}

}  // namespace
}  // namespace gradwire
