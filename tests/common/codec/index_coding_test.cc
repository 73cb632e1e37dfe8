// SPDX-License-Identifier: Apache-2.0
// Index coding: exhaustive for small blocks, length against the entropy, and
// every way in which bytes can be wrong.
#include "common/codec/index_coding.h"

#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

std::string Bytes(std::initializer_list<int> bytes) {
  std::string out;
  for (const int byte : bytes) out.push_back(static_cast<char>(byte));
  return out;
}

std::vector<uint32_t> RandomSubset(size_t n, double p, uint32_t seed) {
  std::mt19937 random(seed);
  std::bernoulli_distribution in(p);
  std::vector<uint32_t> indices;
  for (uint32_t i = 0; i < n; ++i) {
    if (in(random)) indices.push_back(i);
  }
  return indices;
}

void ExpectRoundTrip(const std::vector<uint32_t>& indices, size_t n) {
  std::string bytes;
  AppendIndices(indices, n, &bytes);
  const std::string followed = bytes + "\xFFtail";
  absl::string_view rest = followed;
  DecodedIndices decoded;
  const absl::Status status = TakeIndices(n, &rest, &decoded);
  ASSERT_TRUE(status.ok()) << status << " n " << n << " count " << indices.size();
  EXPECT_EQ(rest, "\xFFtail");
  EXPECT_EQ(decoded.dense, 2 * indices.size() > n);
  if (!decoded.dense) {
    EXPECT_EQ(decoded.indices, indices);
  }
}

TEST(IndexCodingTest, EverySubsetOfUpToTwelveCoordinatesComesBack) {
  for (size_t n = 1; n <= 12; ++n) {
    for (uint32_t set = 0; set < 1u << n; ++set) {
      std::vector<uint32_t> indices;
      for (uint32_t i = 0; i < n; ++i) {
        if ((set >> i & 1) != 0) indices.push_back(i);
      }
      ExpectRoundTrip(indices, n);
    }
  }
}

TEST(IndexCodingTest, LargeSetsOfEveryShapeComeBack) {
  for (const size_t n : {17, 1000, 235146, 262144}) {
    for (const double p : {1e-4, 1e-3, 0.01, 0.1, 0.24, 0.26, 0.45, 0.6}) {
      ExpectRoundTrip(RandomSubset(n, p, 1), n);
    }
    ExpectRoundTrip({static_cast<uint32_t>(n - 1)}, n);
    ExpectRoundTrip({0}, n);
    std::vector<uint32_t> run;  // clustered, and one far away: a long unary part
    for (uint32_t i = 0; i < n / 8; ++i) run.push_back(i);
    run.push_back(static_cast<uint32_t>(n - 1));
    ExpectRoundTrip(run, n);
  }
  ExpectRoundTrip({5, 0x7FFFFFFF, 0xFFFFFFFE}, 0xFFFFFFFF);
}

// algorithms: bits an index, entropy H(p)/p, for random sets.
TEST(IndexCodingTest, IsWithinATenthOfABitOfTheEntropy) {
  struct Row {
    double p;
    double entropy;
  };
  const Row rows[] = {{0.1, 4.69}, {0.05, 5.73}, {0.01, 8.08}, {0.001, 11.41}, {0.0001, 14.73}};
  const size_t n = size_t{1} << 24;  // so that 1e-4 has 1,678 indices: 0.03 bit of chance
  for (const Row& row : rows) {
    const double entropy = (-row.p * std::log2(row.p) - (1 - row.p) * std::log2(1 - row.p)) / row.p;
    ASSERT_NEAR(entropy, row.entropy, 0.006) << "the table";
    const std::vector<uint32_t> indices = RandomSubset(n, row.p, 2);
    std::string bytes;
    AppendIndices(indices, n, &bytes);
    const double bits =
        8.0 * static_cast<double>(bytes.size() - 6) / static_cast<double>(indices.size());
    EXPECT_LT(bits, entropy + 0.1) << row.p;
    EXPECT_GT(bits, entropy - 0.1) << row.p;
  }
  // At a quarter, just below the bitmap's 4 bits: 3.25 of entropy.
  std::vector<uint32_t> quarter = RandomSubset(n, 0.2495, 3);
  std::string bytes;
  AppendIndices(quarter, n, &bytes);
  ASSERT_EQ(bytes[0], 0);
  EXPECT_LT(8.0 * static_cast<double>(bytes.size()) / static_cast<double>(quarter.size()),
            3.252 + 0.1);
}

// Against the sum of the code lengths, for every parameter.
TEST(IndexCodingTest, ParameterIsTheBestForTheBlock) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    const std::vector<uint32_t> indices =
        RandomSubset(20000, std::ldexp(0.5, -static_cast<int>(random() % 12)), seed);
    uint64_t best = UINT64_MAX;
    int want = 0;
    for (int b = 0; b <= 31; ++b) {
      uint64_t bits = 0;
      uint32_t next = 0;
      for (const uint32_t index : indices) {
        bits += ((index - next) >> b) + 1 + static_cast<uint64_t>(b);
        next = index + 1;
      }
      if (bits < best) {
        best = bits;
        want = b;
      }
    }
    EXPECT_EQ(BestRiceParameter(indices), want) << indices.size();
  }
}

// Spelled out by hand: gaps 2, 0, 5 with b = 1 are 01|0, 1|0, 001|1 and in the byte, lowest bit
// first, 0 1 0 1 0 0 0 1 | 1.
TEST(IndexCodingTest, GrammarIsWhatTheHeaderSays) {
  absl::string_view rest;
  DecodedIndices decoded;
  const std::string gaps = Bytes({0, 3, 0, 0, 0, 1, 0b10001010, 0b1});
  rest = gaps;
  ASSERT_TRUE(TakeIndices(20, &rest, &decoded).ok());
  EXPECT_THAT(decoded.indices, testing::ElementsAre(2u, 3u, 9u));
  EXPECT_TRUE(rest.empty());
  const std::string bitmap = Bytes({1, 0b10000001, 0b00000010});
  rest = bitmap;
  ASSERT_TRUE(TakeIndices(10, &rest, &decoded).ok());
  EXPECT_THAT(decoded.indices, testing::ElementsAre(0u, 7u, 9u));
}

TEST(IndexCodingTest, BadBytesAreRefusedWithTheReason) {
  struct Case {
    const char* name;
    std::string bytes;
    size_t n;
    const char* message;
  };
  const Case cases[] = {
      {"empty", "", 20, "empty"},
      {"unknown form", Bytes({3}), 20, "form 3 is not known"},
      {"form 255", Bytes({255}), 20, "form 255 is not known"},
      {"no count", Bytes({0, 1, 0, 0}), 20, "ends within the 5 bytes"},
      {"count beyond the block", Bytes({0, 255, 255, 255, 255, 1, 1}), 20, "4294967295 of 20"},
      {"count for a bitmap", Bytes({0, 6, 0, 0, 0, 0, 63}), 20, "form 0 with 6 of 20"},
      {"parameter", Bytes({0, 1, 0, 0, 0, 32, 1}), 20, "parameter 32 is above 31"},
      {"no bits", Bytes({0, 1, 0, 0, 0, 0}), 20, "ends within index 0 of 1"},
      {"zeros only", Bytes({0, 1, 0, 0, 0, 0, 0, 0}), 20, "ends within index 0 of 1"},
      {"cut in low bits", Bytes({0, 1, 0, 0, 0, 31, 1}), 20, "ends within index 0 of 1"},
      {"second is missing", Bytes({0, 2, 0, 0, 0, 0, 0b10000000}), 20, "ends within index 1 of 2"},
      {"index at n", Bytes({0, 1, 0, 0, 0, 0, 0, 0, 0b10000}), 20, "index 0 of 1 is 20, beyond"},
      {"far beyond", Bytes({0, 1, 0, 0, 0, 31, 0b10, 255, 255, 255, 255}), 20, "beyond the block"},
      {"padding", Bytes({0, 1, 0, 0, 0, 0, 0b11}), 20, "bits behind the last index"},
      {"bitmap cut", Bytes({1, 255}), 20, "1 bytes of 3"},
      {"bitmap too empty", Bytes({1, 1, 0, 0}), 20, "form 1 with 1 of 20"},
      {"bitmap too full", Bytes({1, 255, 255, 0}), 20, "form 1 with 16 of 20"},
      {"bitmap beyond", Bytes({1, 127, 0, 128}), 20, "names coordinate 23, beyond the block's 20"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    absl::string_view rest = c.bytes;
    DecodedIndices decoded;
    const absl::Status status = TakeIndices(c.n, &rest, &decoded);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
    EXPECT_LE(decoded.indices.capacity(), c.n / 2 + 1) << "checked before it allocates";
  }
}

}  // namespace
}  // namespace gradwire
