// SPDX-License-Identifier: Apache-2.0
// Gaussians: their law (moments, tails, Kolmogorov-Smirnov, chi-square), and their bits.
#include "common/random/gaussian.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "common/kernels/target.h"
#include "gtest/gtest.h"

namespace gradwire {
namespace {

constexpr RandomKey kKey = {.seed = 20240229, .purpose = Purpose::kPerturbation, .step = 3};

std::vector<float> Normals(size_t n, RandomKey key = kKey) {
  std::vector<float> normals(n);
  FillGaussians(key, absl::MakeSpan(normals));
  return normals;
}

double Cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

TEST(GaussianTest, MomentsAreThoseOfTheStandardNormal) {
  const size_t n = 1 << 20;
  const std::vector<float> normals = Normals(n);
  double sums[5] = {};
  for (const double x : normals) {
    for (int power = 1; power <= 4; ++power) sums[power] += std::pow(x, power);
  }
  const double root = std::sqrt(static_cast<double>(n));
  // Variances of x, x^2, x^3, x^4 are 1, 2, 15, 96.
  EXPECT_NEAR(sums[1] / n, 0, 4 * std::sqrt(1.0) / root);
  EXPECT_NEAR(sums[2] / n, 1, 4 * std::sqrt(2.0) / root);
  EXPECT_NEAR(sums[3] / n, 0, 4 * std::sqrt(15.0) / root);
  EXPECT_NEAR(sums[4] / n, 3, 4 * std::sqrt(96.0) / root);
}

TEST(GaussianTest, PassesKolmogorovSmirnov) {
  std::vector<float> normals = Normals(1 << 18);
  std::sort(normals.begin(), normals.end());
  const auto n = static_cast<double>(normals.size());
  double worst = 0;
  for (size_t i = 0; i < normals.size(); ++i) {
    const double cdf = Cdf(normals[i]);
    worst =
        std::max({worst, cdf - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - cdf});
  }
  EXPECT_LT(worst * std::sqrt(n), 1.95) << "level 0.001";
}

TEST(GaussianTest, TailsAndCellsPassChiSquare) {
  const size_t n = 1 << 22;
  const std::vector<float> normals = Normals(n, {.seed = 5, .purpose = Purpose::kInit});
  const std::vector<double> edges = {-4.5, -4, -3.5, -3, -2,  -1, -0.5, 0,
                                     0.5,  1,  2,    3,  3.5, 4,  4.5};
  std::vector<double> counts(edges.size() + 1);
  for (const float x : normals) {
    ++counts[static_cast<size_t>(std::upper_bound(edges.begin(), edges.end(), x) - edges.begin())];
  }
  double chi_square = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double low = i == 0 ? 0 : Cdf(edges[i - 1]);
    const double high = i == edges.size() ? 1 : Cdf(edges[i]);
    const double want = n * (high - low);
    chi_square += (counts[i] - want) * (counts[i] - want) / want;
  }
  EXPECT_LT(chi_square, 37.7) << "15 degrees of freedom, level 0.001";
}

TEST(GaussianTest, NeighboursAndPairsAreUncorrelated) {
  const std::vector<float> normals = Normals(1 << 18);
  for (const size_t lag : {1, 2, 3, 4}) {
    double product = 0;
    double squares = 0;  // correlated radii would show here
    for (size_t i = 0; i + lag < normals.size(); ++i) {
      product += normals[i] * normals[i + lag];
      squares += (normals[i] * normals[i] - 1.0) * (normals[i + lag] * normals[i + lag] - 1.0);
    }
    const auto n = static_cast<double>(normals.size() - lag);
    EXPECT_NEAR(product / n, 0, 4 / std::sqrt(n)) << "lag " << lag;
    EXPECT_NEAR(squares / n, 0, 4 * 2 / std::sqrt(n)) << "lag " << lag;
  }
}

TEST(GaussianTest, NormalIDoesNotDependOnHowManyAreDrawn) {
  const std::vector<float> all = Normals(5000);
  for (const size_t n : {0, 1, 2, 3, 4, 5, 1023, 1024, 1025, 4097}) {
    const std::vector<float> some = Normals(n);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << n;
  }
}

// The first eight of seed 1, purpose kInit, step 0, block 0, for ever.  Computed apart, by the
// same formulas in numpy's float32 on a Philox in Python.
TEST(GaussianTest, BitsNeverChangeAndAreTheSameUnderEveryTarget) {
  const std::vector<uint32_t> golden = {0xBF6E3480, 0xBE94114D, 0x3F96CC2E, 0xBE157F0C,
                                        0xBF50951F, 0x3F59222D, 0x3E46D911, 0x3F88E6BA};
  for (const std::string& target : KernelTargets()) {
    ASSERT_TRUE(SetKernelTarget(target).ok());
    std::vector<uint32_t> bits;
    for (const float x : Normals(8, {.seed = 1, .purpose = Purpose::kInit})) {
      bits.push_back(std::bit_cast<uint32_t>(x));
    }
    EXPECT_EQ(bits, golden) << target;
  }
  ASSERT_TRUE(SetKernelTarget("auto").ok());
}

}  // namespace
}  // namespace gradwire
