// SPDX-License-Identifier: Apache-2.0
// Index sets: shape, inclusion probabilities, and bits that never change.
#include "common/random/index_set.h"

#include <cmath>
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradwire {
namespace {

constexpr IndexSetLaw kLaws[] = {IndexSetLaw::kStratified, IndexSetLaw::kUniform,
                                 IndexSetLaw::kStrided};

std::vector<uint32_t> Draw(IndexSetLaw law, size_t n, size_t k, uint64_t step) {
  std::vector<uint32_t> indices = {9, 9, 9};  // must be replaced
  FillIndexSet(law, {.seed = 11, .purpose = Purpose::kIndexSet, .step = step, .block = 4}, n, k,
               &indices);
  return indices;
}

size_t StratumBegin(size_t i, size_t n, size_t k) { return i * n / k; }

TEST(IndexSetSizeTest, RoundsAndStaysBetweenOneAndN) {
  struct Case {
    double ratio;
    size_t n;
    size_t want;
  };
  const Case cases[] = {{0.01, 1, 1},      {0.01, 149, 1},  {0.01, 150, 2},
                        {0.5, 3, 2},       {1.0, 17, 17},   {0.01, 262144, 2621},
                        {1e-9, 262144, 1}, {0.999, 10, 10}, {0.01, 235146, 2351},
                        {0.25, 10, 3}};
  for (const Case& c : cases)
    EXPECT_EQ(IndexSetSize(c.ratio, c.n), c.want) << c.ratio << " " << c.n;
}

TEST(IndexSetTest, HasKDifferentAscendingCoordinatesBelowN) {
  for (const IndexSetLaw law : kLaws) {
    for (const size_t n : {1, 2, 3, 7, 64, 65, 1000, 262144}) {
      for (const size_t k : {size_t{1}, n / 100, n / 3, n / 2 + 1, n - 1, n}) {
        if (k == 0) continue;
        for (uint64_t step = 0; step < 20; ++step) {
          const std::vector<uint32_t> indices = Draw(law, n, k, step);
          ASSERT_EQ(indices.size(), k);
          ASSERT_LT(indices.back(), n);
          for (size_t i = 1; i < k; ++i) ASSERT_LT(indices[i - 1], indices[i]);
        }
      }
    }
  }
}

TEST(IndexSetTest, StratifiedTakesOneOfEachStratum) {
  for (const size_t k : {1, 3, 10, 333, 1000}) {
    const std::vector<uint32_t> indices = Draw(IndexSetLaw::kStratified, 1000, k, 6);
    for (size_t i = 0; i < k; ++i) {
      EXPECT_GE(indices[i], StratumBegin(i, 1000, k));
      EXPECT_LT(indices[i], StratumBegin(i + 1, 1000, k));
    }
  }
}

// Every law: coordinate j is in with its stated probability (5 standard errors; with some
// thousand comparisons in all that is a level of about 1e-3).
TEST(IndexSetTest, EveryCoordinateIsInWithItsProbability) {
  constexpr size_t kDraws = 20000;
  for (const IndexSetLaw law : kLaws) {
    for (const auto& [n, k] : {std::pair<size_t, size_t>{10, 3}, {64, 16}, {7, 7}, {100, 1}}) {
      std::vector<double> counts(n);
      for (size_t step = 0; step < kDraws; ++step) {
        for (const uint32_t index : Draw(law, n, k, step)) ++counts[index];
      }
      for (size_t i = 0; i < k; ++i) {
        const size_t begin = StratumBegin(i, n, k);
        const size_t end = StratumBegin(i + 1, n, k);
        for (size_t j = begin; j < end; ++j) {
          const double p = law == IndexSetLaw::kStratified
                               ? 1.0 / static_cast<double>(end - begin)
                               : static_cast<double>(k) / static_cast<double>(n);
          EXPECT_NEAR(counts[j] / kDraws, p, 5 * std::sqrt(p * (1 - p) / kDraws) + 1e-12)
              << "law " << static_cast<int>(law) << " n " << n << " coordinate " << j;
        }
      }
    }
  }
}

// Strided: exactly k of the n shifts name each coordinate.  The law's own formula, all shifts.
TEST(IndexSetTest, StridedTakesExactlyTheNSetsOfItsFormula) {
  const size_t n = 10;
  const size_t k = 4;
  std::map<std::vector<uint32_t>, int> allowed;
  std::vector<int> named(n);
  for (size_t r = 0; r < n; ++r) {
    std::vector<uint32_t> set;
    for (size_t i = 0; i < k; ++i) set.push_back(static_cast<uint32_t>((i * n + r) / k));
    for (const uint32_t index : set) ++named[index];
    allowed[set] = 0;
  }
  EXPECT_THAT(named, testing::Each(static_cast<int>(k)));
  for (uint64_t step = 0; step < 1000; ++step) {
    const auto found = allowed.find(Draw(IndexSetLaw::kStrided, n, k, step));
    ASSERT_NE(found, allowed.end());
    ++found->second;
  }
  for (const auto& [set, count] : allowed) EXPECT_GT(count, 0);
}

TEST(IndexSetTest, UniformGivesEverySubsetEquallyOften) {
  constexpr size_t kDraws = 20000;
  std::map<std::vector<uint32_t>, double> counts;
  for (size_t step = 0; step < kDraws; ++step) ++counts[Draw(IndexSetLaw::kUniform, 6, 3, step)];
  ASSERT_EQ(counts.size(), 20u) << "6 choose 3";
  double chi_square = 0;
  for (const auto& [set, count] : counts) {
    chi_square += (count - kDraws / 20.0) * (count - kDraws / 20.0) / (kDraws / 20.0);
  }
  EXPECT_LT(chi_square, 43.8) << "19 degrees of freedom, level 0.001";
}

// Without rejection, x * 3 / 4 for words x would be a multiple of 3 half of the time.
TEST(IndexSetTest, RejectionLeavesNoBias) {
  constexpr size_t kRange = size_t{3} << 30;
  constexpr size_t kDraws = 9000;
  std::vector<double> remainders(3);
  for (size_t step = 0; step < kDraws; ++step) {
    ++remainders[Draw(IndexSetLaw::kStratified, kRange, 1, step)[0] % 3];
  }
  const double standard_error = std::sqrt(1.0 / 3 * (2.0 / 3) / kDraws);
  for (const double count : remainders) {
    EXPECT_NEAR(count / kDraws, 1.0 / 3, 5 * standard_error);
  }
}

TEST(IndexSetTest, StepBlockAndSeedChangeTheSet) {
  const RandomKey key = {.seed = 1, .purpose = Purpose::kIndexSet, .step = 1, .block = 1};
  RandomKey other[3] = {key, key, key};
  other[0].seed = 2;
  other[1].step = 2;
  other[2].block = 2;
  for (const IndexSetLaw law : kLaws) {
    std::vector<uint32_t> base;
    FillIndexSet(law, key, 100000, 100, &base);
    for (const RandomKey& changed : other) {
      std::vector<uint32_t> indices;
      FillIndexSet(law, changed, 100000, 100, &indices);
      EXPECT_NE(indices, base);
    }
  }
}

// Seed 11, step 1, block 4, for ever.  Computed apart, by a Philox and Lemire's method in
// Python.  The last has a rejected draw.
TEST(IndexSetTest, SetsNeverChange) {
  EXPECT_EQ(Draw(IndexSetLaw::kStratified, 1000, 8, 1),
            (std::vector<uint32_t>{30, 181, 269, 494, 515, 627, 846, 885}));
  EXPECT_EQ(Draw(IndexSetLaw::kUniform, 1000, 8, 1),
            (std::vector<uint32_t>{23, 87, 126, 153, 245, 452, 769, 949}));
  EXPECT_EQ(Draw(IndexSetLaw::kStrided, 1000, 8, 1),
            (std::vector<uint32_t>{30, 155, 280, 405, 530, 655, 780, 905}));
  EXPECT_EQ(Draw(IndexSetLaw::kStratified, 4000000000, 2, 1),
            (std::vector<uint32_t>{253226905, 2911464963}));
}

}  // namespace
}  // namespace gradwire
