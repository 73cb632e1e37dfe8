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

// k of n, every set alike.
std::vector<uint32_t> RandomSetOf(size_t k, size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint32_t> indices;
  for (uint32_t i = 0; i < n; ++i) {
    std::uniform_int_distribution<size_t> left(0, n - i - 1);
    if (left(random) < k - indices.size()) indices.push_back(i);
  }
  return indices;
}

// Bits an index, the six bytes of form, count and parameter aside, against log2 of the number of
// sets: no code is shorter on average.
TEST(IndexCodingTest, IsWithinATenthOfABitOfTheEntropyFromOneInTenThousandToAQuarter) {
  const size_t n = size_t{1} << 22;
  for (const double density : {1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07,
                               0.1, 0.14, 0.2, 0.25}) {
    const auto k = static_cast<size_t>(density * static_cast<double>(n));
    const auto ln_factorial = [](size_t x) { return std::lgamma(static_cast<double>(x) + 1); };
    const double bound = (ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)) /
                         (std::log(2.0) * static_cast<double>(k));
    // By chance of the draw the length differs, by less than 2 / sqrt(all indices) bits.
    size_t indices = 0;
    size_t bytes = 0;
    for (uint32_t seed = 0; indices < 12000; ++seed) {
      std::string payload;
      AppendIndices(RandomSetOf(k, n, seed), n, &payload);
      indices += k;
      bytes += payload.size() - 6;
    }
    const double bits = 8.0 * static_cast<double>(bytes) / static_cast<double>(indices);
    EXPECT_LT(bits, bound + 0.1) << density;
    EXPECT_GT(bits, bound - 0.02) << density;
  }
}

// Bits an index by closed form: gaps of geometric law with m = 2, and the bitmap.
TEST(IndexCodingTest, FormIsTheShorterOneOnBothSidesOfTheBoundary) {
  const size_t n = 80000;
  for (const double density : {0.2501, 0.3, 0.37, 0.39, 0.45, 0.5}) {
    const auto k = static_cast<size_t>(density * static_cast<double>(n));
    const double q = 1 - static_cast<double>(k) / static_cast<double>(n);
    const double rice = 2 + q * q / (1 - q * q);  // b = 1
    const double bitmap = 1 / (1 - q);
    std::string payload;
    AppendIndices(RandomSetOf(k, n, 4), n, &payload);
    EXPECT_EQ(payload[0], rice < bitmap ? 0 : 1) << density;
    const double bits = 8.0 * static_cast<double>(payload.size()) / static_cast<double>(k);
    EXPECT_NEAR(bits, std::min(rice, bitmap), 0.02) << density;
  }
}

// Bits of a gap by the grammar: for m = 2^b, and for m = 3 2^(b-1).
uint64_t CodeLength(uint64_t gap, int parameter) {
  const int b = parameter % 32;
  if (parameter < 32) return (gap >> b) + 1 + static_cast<uint64_t>(b);
  const uint64_t half = uint64_t{1} << (b - 1);
  const uint64_t rest = gap % (3 * half);
  return gap / (3 * half) + 1 + (rest < half ? 1 : 2) + static_cast<uint64_t>(b) - 1;
}

// Against the sum of the code lengths, for every parameter.
TEST(IndexCodingTest, ParameterIsTheBestForTheBlock) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    const std::vector<uint32_t> indices =
        RandomSubset(20000, std::ldexp(0.5, -static_cast<int>(random() % 12)), seed);
    uint64_t best = UINT64_MAX;
    int want = 0;
    for (int parameter = 0; parameter < 64; ++parameter) {
      if (parameter == 32) continue;
      uint64_t bits = 0;
      uint32_t next = 0;
      for (const uint32_t index : indices) {
        bits += CodeLength(index - next, parameter);
        next = index + 1;
      }
      if (bits < best) {
        best = bits;
        want = parameter;
      }
    }
    EXPECT_EQ(BestGapParameter(indices), want) << indices.size();
    std::string bytes;
    AppendIndices(indices, 60000, &bytes);
    EXPECT_EQ(bytes.size(), 6 + (best + 7) / 8);
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
  // m = 6 (b = 2): gaps 0, 3, 16 are 1|0|0, 1|10|1, 001|11|0: 1 0 0 1 1 0 1 0 | 0 1 1 1 0.
  const std::string thirds = Bytes({0, 3, 0, 0, 0, 34, 0b01011001, 0b01110});
  rest = thirds;
  const absl::Status status = TakeIndices(30, &rest, &decoded);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(decoded.indices, testing::ElementsAre(0u, 4u, 21u));
  EXPECT_TRUE(rest.empty());
  const std::string bitmap = Bytes({1, 0b10000001, 0b00000011});
  rest = bitmap;
  ASSERT_TRUE(TakeIndices(10, &rest, &decoded).ok());
  EXPECT_THAT(decoded.indices, testing::ElementsAre(0u, 7u, 8u, 9u));
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
      {"count for a bitmap", Bytes({0, 8, 0, 0, 0, 0, 255}), 20, "form 0 with 8 of 20"},
      {"parameter 32", Bytes({0, 1, 0, 0, 0, 32, 1}), 20, "parameter 32 is not one of"},
      {"parameter 64", Bytes({0, 1, 0, 0, 0, 64, 1}), 20, "parameter 64 is not one of"},
      {"cut in thirds", Bytes({0, 1, 0, 0, 0, 33, 128}), 20, "ends within index 0 of 1"},
      {"cut behind thirds", Bytes({0, 1, 0, 0, 0, 63, 0b101}), 20, "ends within index 0 of 1"},
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
