// SPDX-License-Identifier: Apache-2.0
// Batches: inside the shard, a function of (seed, step, rank), and unbiased.
#include "worker/data/batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "common/random/counter.h"

namespace gradwire {
namespace {

std::vector<uint32_t> Batch(uint64_t seed, uint64_t step, uint32_t rank, uint32_t shards,
                            uint32_t rows, uint32_t batch) {
  std::vector<uint32_t> out = {12345};
  FillBatch(seed, step, rank, shards, rows, batch, &out);
  return out;
}

TEST(BatchesTest, EveryRowOfTheShardIsDrawnAndNoOther) {
  const struct {
    uint32_t rank, shards, rows;
  } cases[] = {{0, 1, 1}, {0, 1, 10}, {0, 3, 10}, {1, 3, 10}, {2, 3, 10}, {5, 3, 10}, {3, 4, 4}};
  for (const auto& c : cases) {
    SCOPED_TRACE(testing::Message() << c.rank << " " << c.shards << " " << c.rows);
    std::vector<bool> drawn(c.rows);
    for (const uint32_t row : Batch(1, 1, c.rank, c.shards, c.rows, 500)) {
      ASSERT_LT(row, c.rows);
      drawn[row] = true;
    }
    for (uint32_t row = 0; row < c.rows; ++row) {
      EXPECT_EQ(drawn[row], row % c.shards == c.rank % c.shards) << row;
    }
  }
}

TEST(BatchesTest, EverythingInTheKeyMattersAndNothingElse) {
  const std::vector<uint32_t> batch = Batch(1, 2, 0, 4, 60000, 64);
  EXPECT_EQ(batch.size(), 64);
  EXPECT_EQ(batch, Batch(1, 2, 0, 4, 60000, 64));
  EXPECT_NE(batch, Batch(2, 2, 0, 4, 60000, 64));
  EXPECT_NE(batch, Batch(1, 3, 0, 4, 60000, 64));
  EXPECT_NE(batch, Batch(1, 2, 4, 4, 60000, 64));  // another rank in the same shard
  const std::vector<uint32_t> longer = Batch(1, 2, 0, 4, 60000, 65);
  EXPECT_EQ(batch, std::vector<uint32_t>(longer.begin(), longer.end() - 1));
}

TEST(BatchesTest, APowerOfTwoTakesTheTopBitsOfEachWord) {
  std::array<uint32_t, 9> words;
  FillRandomWords({.seed = 7, .purpose = Purpose::kBatch, .step = 5, .block = 3},
                  absl::MakeSpan(words));
  const std::vector<uint32_t> batch = Batch(7, 5, 3, 2, 2 << 10, 9);
  for (size_t i = 0; i < batch.size(); ++i) EXPECT_EQ(batch[i], 1 + 2 * (words[i] >> 22)) << i;
}

// 2^32 words on 3 * 2^30 rows: without rejection every third row would come twice as often.
TEST(BatchesTest, NoRowIsFavoured) {
  constexpr uint32_t kDraws = 30000;
  std::array<double, 3> counts = {};
  for (const uint32_t row : Batch(1, 1, 0, 1, 3u << 30, kDraws)) ++counts[row % 3];
  for (const double count : counts) EXPECT_NEAR(count / kDraws, 1.0 / 3, 0.011);  // 4 sigma
}

TEST(BatchesTest, RowsAreUniformByChiSquare) {
  constexpr uint32_t kRows = 100;
  constexpr uint32_t kDraws = 100000;
  std::array<double, kRows> counts = {};
  for (const uint32_t row : Batch(9, 1, 0, 1, kRows, kDraws)) ++counts[row];
  double chi_square = 0;
  for (const double count : counts) {
    const double excess = count - kDraws / kRows;
    chi_square += excess * excess / (kDraws / kRows);
  }
  // 99 degrees of freedom: 0.001 lie below 60, 0.001 above 149.
  EXPECT_GT(chi_square, 60);
  EXPECT_LT(chi_square, 149);
}

}  // namespace
}  // namespace gradwire
