// SPDX-License-Identifier: Apache-2.0
// top_k against a full sort, and the union of several workers' entries.
#include <cstring>
#include <numeric>

#include "common/codec/index_coding.h"
#include "common/random/index_set.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"

namespace gradwire {
namespace {

// Zero but for the k greatest magnitudes, ties to the lowest index.
std::vector<float> Oracle(const std::vector<float>& x, size_t k) {
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return std::fabs(x[a]) > std::fabs(x[b]); });
  std::vector<float> kept(x.size(), 0.0f);
  for (size_t i = 0; i < k; ++i) kept[order[i]] = x[order[i]];
  return kept;
}

TEST(TopKTest, KeepsExactlyWhatAFullSortKeeps) {
  for (const double ratio : {0.001, 0.01, 0.1, 0.25, 0.3, 0.5, 0.51, 1.0}) {
    const auto codec = Make("top_k:" + std::to_string(ratio));
    for (const size_t n : BlockSizes()) {
      const size_t k = IndexSetSize(ratio, n);
      const std::vector<std::vector<float>> inputs = {
          RandomValues(n, 1), std::vector<float>(n, 0.0f), std::vector<float>(n, -2.5f),
          std::vector<float>(n, 1e-45f)};
      for (const std::vector<float>& x : inputs) {
        EXPECT_EQ(Decoded(*codec, KeyOf(n), Encoded(*codec, KeyOf(n), x)), Oracle(x, k))
            << "ratio " << ratio << " n " << n;
      }
    }
  }
}

TEST(TopKTest, TiesSignsAndZerosGoToTheLowestIndex) {
  const auto codec = Make("top_k:0.25");
  struct Case {
    std::vector<float> x;
    std::vector<uint32_t> want;
  };
  const Case cases[] = {
      {{1, -1, 1, -1, 1, -1, 1, -1}, {0, 1}},      {{0, -0.0f, 0, -0.0f, 0, 0, 0, 0}, {0, 1}},
      {{-0.0f, 0, 0, 0, 0, 0, 0, 1e-45f}, {0, 7}}, {{1, 2, 2, 2, 0, 0, 0, -2}, {1, 2}},
      {{1, 2, 1, 3, 1, 1, 1, 1}, {1, 3}},
  };
  for (const Case& c : cases) {
    Accumulator sum;
    ASSERT_TRUE(codec->Accumulate(KeyOf(8), Encoded(*codec, KeyOf(8), c.x), &sum).ok());
    BlockValues mean;
    codec->Mean(KeyOf(8), sum, &mean);
    EXPECT_EQ(mean.indices, c.want);
  }
}

// Deterministic: the error is the energy of what a full sort does not keep, and at most
// (1 - k/n)|x|^2, which values of equal magnitude reach.
TEST(TopKTest, ErrorIsTheEnergyNotKeptAndAtMostAsDocumented) {
  const auto codec = Make("top_k:0.1");
  const auto energy = [](const std::vector<float>& values) {
    double sum = 0;
    for (const float value : values) sum += double{value} * double{value};
    return sum;
  };
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    const std::vector<float> x = RandomValues(300, seed);
    std::vector<float> residual = x;
    std::string payload;
    codec->Encode(KeyOf(300), absl::MakeSpan(residual), &payload);
    EXPECT_NEAR(energy(residual), energy(x) - energy(Oracle(x, 30)), 1e-9 * energy(x));
    EXPECT_LE(energy(residual), (1 - 0.1) * energy(x));
  }
  std::vector<float> equal(300, -2.0f);
  std::string payload;
  codec->Encode(KeyOf(300), absl::MakeSpan(equal), &payload);
  EXPECT_DOUBLE_EQ(energy(equal), (1 - 0.1) * 300 * 4);
}

// Workers with disjoint entries: the union grows from gaps over a bitmap to dense.
TEST(TopKTest, UpdateIsTheUnionInTheFormForItsSize) {
  const size_t n = 80;
  const auto codec = Make("top_k:0.1");  // 8 of 80
  const std::pair<size_t, IndexForm> cases[] = {{1, IndexForm::kGaps},   {2, IndexForm::kGaps},
                                                {3, IndexForm::kGaps},   {4, IndexForm::kBitmap},
                                                {5, IndexForm::kBitmap}, {6, IndexForm::kDense},
                                                {10, IndexForm::kDense}};
  for (const auto& [workers, form] : cases) {
    Accumulator sum;
    std::vector<float> want(n, 0.0f);
    for (size_t worker = 0; worker < workers; ++worker) {
      std::vector<float> x(n, 0.0f);
      for (size_t i = 8 * worker; i < 8 * worker + 8; ++i) {
        x[i] = static_cast<float>(i + 1);
        want[i] = x[i] / static_cast<float>(workers);
      }
      ASSERT_TRUE(codec->Accumulate(KeyOf(n), Encoded(*codec, KeyOf(n), x), &sum).ok());
    }
    BlockValues mean;
    codec->Mean(KeyOf(n), sum, &mean);
    EXPECT_EQ(mean.dense, form == IndexForm::kDense);
    std::string payload;
    codec->EncodeUpdate(KeyOf(n), mean, &payload);
    EXPECT_EQ(payload[0], static_cast<char>(form)) << workers;
    BlockValues update;
    ASSERT_TRUE(codec->DecodeUpdate(KeyOf(n), payload, &update).ok());
    EXPECT_EQ(Dense(update, n), want);
  }
}

TEST(TopKTest, SharedEntriesAreAddedInTheOrderOfTheCalls) {
  const auto codec = Make("top_k:0.5");
  Accumulator sum;
  const float values[] = {1e8f, 1.0f, -1e8f};  // the order decides: ((1e8 + 1) - 1e8) = 0
  for (const float value : values) {
    ASSERT_TRUE(codec->Accumulate(KeyOf(2), Encoded(*codec, KeyOf(2), {0, value}), &sum).ok());
  }
  BlockValues mean;
  codec->Mean(KeyOf(2), sum, &mean);
  EXPECT_THAT(mean.indices, testing::ElementsAre(1u));
  EXPECT_THAT(mean.values, testing::ElementsAre(0.0f));
}

TEST(TopKTest, AWorkersPayloadWithAnotherCountIsRefusedButAnUpdateIsNot) {
  const size_t n = 100;
  const BlockKey key = KeyOf(n);
  const auto codec = Make("top_k:0.1");
  for (const char* other : {"top_k:0.09", "top_k:0.11", "top_k:0.3", "top_k:0.9"}) {
    const std::string payload = Encoded(*Make(other), key, RandomValues(n, 5));
    Accumulator sum;
    const absl::Status status = codec->Accumulate(key, payload, &sum);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << other;
    EXPECT_EQ(sum.payloads, 0u);
    BlockValues update;
    EXPECT_TRUE(codec->DecodeUpdate(key, payload, &update).ok()) << other;
  }
}

}  // namespace
}  // namespace gradwire
