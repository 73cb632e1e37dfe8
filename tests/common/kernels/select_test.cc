// SPDX-License-Identifier: Apache-2.0
// Selection of the greatest magnitudes against a full sort.
#include "common/kernels/select.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "gtest/gtest.h"
#include "tests/common/kernels/targets.h"

namespace gradwire {
namespace {

std::vector<uint32_t> BySorting(const std::vector<float>& x, size_t k) {
  std::vector<uint32_t> order(x.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return std::fabs(x[a]) > std::fabs(x[b]); });
  order.resize(k);
  std::sort(order.begin(), order.end());
  return order;
}

void ExpectSameAsSorting(const std::vector<float>& x, size_t k) {
  const std::vector<uint32_t> want = BySorting(x, k);
  ForEachTarget([&] {
    std::vector<uint32_t> got = {1, 2, 3};  // must be replaced
    SelectLargest(x.data(), x.size(), k, &got);
    EXPECT_EQ(got, want) << "n " << x.size() << " k " << k;
  });
}

std::vector<float> Few(size_t n, std::vector<float> choices, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> x(n);
  for (float& value : x) value = choices[random() % choices.size()];
  return x;
}

TEST(SelectLargestTest, EqualsAFullSortForEverySizeAndCount) {
  for (const size_t n : {1, 2, 3, 17, 64, 100}) {
    for (size_t k = 1; k <= n; ++k) ExpectSameAsSorting(HardValues(n, 21), k);
  }
  for (const size_t n : {1000, 4099, 262144}) {
    for (const size_t k : {size_t{1}, n / 100, n / 3, n - 1, n}) {
      ExpectSameAsSorting(HardValues(n, 22), k);
    }
  }
}

// What a sample of the values would say, they are not.
TEST(SelectLargestTest, NoPlaceWhereTheLargeOnesLieMisleadsIt) {
  constexpr size_t kSize = size_t{1} << 17;
  for (const size_t k : {size_t{1}, size_t{100}, size_t{1310}, kSize / 16}) {
    std::vector<float> x(kSize, 0.0f);
    x[77] = 1;
    x[kSize - 1] = -2;
    ExpectSameAsSorting(x, k);  // fewer than k are not zero
    std::fill(x.begin(), x.end(), -0.25f);
    ExpectSameAsSorting(x, k);  // all alike
    for (size_t i = 0; i < kSize; ++i) x[i] = static_cast<float>(i % 512 < 16 ? 1000 + i % 7 : i);
    ExpectSameAsSorting(x, k);  // other ones at the places of a regular sample
    for (size_t i = 0; i < kSize; ++i) x[i] = static_cast<float>(i) * (i % 2 == 0 ? 1.0f : -1.0f);
    ExpectSameAsSorting(x, k);  // all at the end
    std::reverse(x.begin(), x.end());
    ExpectSameAsSorting(x, k);
  }
}

TEST(SelectLargestTest, TiesGoToTheLowestIndex) {
  const std::vector<std::vector<float>> few = {
      {0.0f, -0.0f}, {1.0f, -1.0f}, {2.0f}, {0.0f, 1.0f, -1.0f, 2.0f}, {1e-45f, 0.0f, -1e-45f}};
  for (const auto& choices : few) {
    for (const size_t n : {1, 16, 33, 1000}) {
      for (const size_t k : {size_t{1}, n / 2 + 1, n}) {
        ExpectSameAsSorting(Few(n, choices, 23), std::min(k, n));
      }
    }
  }
}

// Neighbours in the last, the middle and the first digit of the radix.
TEST(SelectLargestTest, TellsNeighbouringMagnitudesApart) {
  for (const uint32_t gap : {1u, 1u << 10, 1u << 20}) {
    std::vector<float> x(500);
    for (size_t i = 0; i < x.size(); ++i) {
      const auto rank = static_cast<uint32_t>(i * 7919 % x.size());
      x[i] = std::bit_cast<float>(0x20000000u + rank * gap) * (i % 2 == 0 ? 1.0f : -1.0f);
    }
    for (const size_t k : {1, 250, 499}) ExpectSameAsSorting(x, k);
  }
}

TEST(SelectLargestTest, WorksAtAnyAlignmentAndReadsNothingBeyond) {
  for (size_t offset = 0; offset < 4; ++offset) {
    std::vector<float> x = HardValues(97 + offset, 24);
    const std::vector<float> part(x.begin() + static_cast<long>(offset), x.end());
    const std::vector<uint32_t> want = BySorting(part, 10);
    ForEachTarget([&] {
      std::vector<uint32_t> got;
      SelectLargest(x.data() + offset, part.size(), 10, &got);
      EXPECT_EQ(got, want);
    });
  }
}

TEST(SelectAtLeastTest, TakesWhatALoopTakesAndNeverZero) {
  for (const size_t n : {0, 1, 3, 16, 33, 1000, 4099}) {
    const std::vector<float> x = HardValues(n, 25);
    for (const float least : {0.0f, 1e-45f, 1e-40f, 3e-8f, 1.0f, 1e38f, 3.4e38f,
                              std::numeric_limits<float>::infinity()}) {
      std::vector<uint32_t> want;
      for (size_t i = 0; i < n; ++i) {
        if (x[i] != 0 && std::fabs(x[i]) >= least) want.push_back(static_cast<uint32_t>(i));
      }
      ForEachTarget([&] {
        std::vector<uint32_t> got = {1, 2, 3};  // must be replaced
        SelectAtLeast(x.data(), n, least, &got);
        EXPECT_EQ(got, want) << "n " << n << " least " << least;
        EXPECT_EQ(CountAtLeast(x.data(), n, least), want.size());
      });
    }
  }
}

}  // namespace
}  // namespace gradwire
