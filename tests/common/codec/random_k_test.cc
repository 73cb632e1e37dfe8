// SPDX-License-Identifier: Apache-2.0
// random_k: linear to the bit, the contraction of the paper, nothing but values on the wire.
#include "common/base/little_endian.h"
#include "common/random/index_set.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"

namespace gradwire {
namespace {

std::vector<uint32_t> IndicesOf(IndexSetLaw law, const BlockKey& key, size_t k) {
  std::vector<uint32_t> indices;
  FillIndexSet(
      law, {.seed = key.seed, .purpose = Purpose::kIndexSet, .step = key.step, .block = key.block},
      key.size, k, &indices);
  return indices;
}

TEST(RandomKTest, SendsTheValuesOfTheSharedSetAndNothingElse) {
  const std::pair<const char*, IndexSetLaw> cases[] = {
      {"random_k:0.05", IndexSetLaw::kStratified},
      {"random_k:0.05,set=uniform", IndexSetLaw::kUniform},
      {"random_k:0.05,set=strided", IndexSetLaw::kStrided}};
  for (const auto& [spec, law] : cases) {
    for (const size_t n : BlockSizes()) {
      const BlockKey key = KeyOf(n, 3);
      const std::vector<float> values = RandomValues(n, 1);
      std::string want;
      for (const uint32_t index : IndicesOf(law, key, IndexSetSize(0.05, n))) {
        AppendLittleEndian(values[index], &want);
      }
      EXPECT_EQ(Encoded(*Make(spec), key, values), want) << spec << " " << n;
    }
  }
}

// The aggregate of the payloads is the payload of the aggregate, bit for bit.
TEST(RandomKTest, MeanOfPayloadsIsPayloadOfTheMean) {
  for (const char* ratio : {"0.01", "0.1", "0.5", "1"}) {
    for (const char* set : {"stratified", "uniform", "strided"}) {
      const std::string spec = std::string("random_k:") + ratio + ",set=" + set;
      const auto codec = Make(spec);
      for (const size_t n : BlockSizes()) {
        for (const uint32_t workers : {1, 3, 4, 7}) {
          const BlockKey key = KeyOf(n, workers);
          std::vector<float> mean(n, 0.0f);
          Accumulator sum;
          for (uint32_t worker = 0; worker < workers; ++worker) {
            const std::vector<float> values = RandomValues(n, 100 + worker);
            for (size_t i = 0; i < n; ++i) {
              mean[i] = worker == 0 ? values[i] : mean[i] + values[i];
            }
            ASSERT_TRUE(codec->Accumulate(key, Encoded(*codec, key, values), &sum).ok());
          }
          for (float& value : mean) value = value / static_cast<float>(workers);
          BlockValues aggregate;
          codec->Mean(key, sum, &aggregate);
          std::string update;
          codec->EncodeUpdate(key, aggregate, &update);
          ASSERT_EQ(update, Encoded(*codec, key, mean)) << spec << " n " << n << " W " << workers;
          if (n > 1000 && workers > 3) break;  // large blocks: enough is enough
        }
      }
    }
  }
}

TEST(RandomKTest, IsLinearForFactorsThatFloatsHoldExactly) {
  const auto codec = Make("random_k:0.1");
  const BlockKey key = KeyOf(1000);
  const std::vector<float> x = RandomValues(1000, 2);
  const std::vector<float> y = RandomValues(1000, 3);
  std::vector<float> combined(1000);
  for (size_t i = 0; i < 1000; ++i) combined[i] = 2.0f * x[i] + -4.0f * y[i];
  const std::vector<float> cx = Decoded(*codec, key, Encoded(*codec, key, x));
  const std::vector<float> cy = Decoded(*codec, key, Encoded(*codec, key, y));
  const std::vector<float> got = Decoded(*codec, key, Encoded(*codec, key, combined));
  for (size_t i = 0; i < 1000; ++i) EXPECT_EQ(got[i], 2.0f * cx[i] + -4.0f * cy[i]);
}

// E|C(x) - x|^2 = (1 - k/n)|x|^2, over steps, for an x with few large coordinates.
TEST(RandomKTest, ContractsByKOverN) {
  const size_t n = 1000;
  std::vector<float> x = RandomValues(n, 4);
  for (size_t i = 0; i < n; i += 97) x[i] *= 20.0f;
  double norm = 0;
  for (const double value : x) norm += value * value;
  for (const char* set : {"stratified", "uniform", "strided"}) {
    const auto codec = Make(std::string("random_k:0.05,set=") + set);
    const int steps = 4000;
    double sum = 0;
    double squares = 0;
    for (int step = 0; step < steps; ++step) {
      std::vector<float> residual = x;
      std::string payload;
      codec->Encode(KeyOf(n, static_cast<uint64_t>(step)), absl::MakeSpan(residual), &payload);
      double left = 0;
      for (const double value : residual) left += value * value;
      sum += left / norm;
      squares += left / norm * (left / norm);
    }
    const double mean = sum / steps;
    const double standard_error = std::sqrt((squares / steps - mean * mean) / steps);
    EXPECT_NEAR(mean, 1 - 0.05, 3 * standard_error) << set;
    EXPECT_GT(standard_error, 0) << "the set must change from step to step";
  }
}

}  // namespace
}  // namespace gradwire
