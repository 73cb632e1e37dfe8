// SPDX-License-Identifier: Apache-2.0
// Initial values follow the laws of their papers, and are single numbers for ever.
#include "common/replica/initializer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace gradwire {
namespace {

using testing::Each;
using testing::HasSubstr;

constexpr size_t kSize = 300000;  // more than one chunk

std::vector<float> Fill(absl::string_view text, absl::Span<const uint64_t> shape, uint64_t seed = 1,
                        uint64_t tensor = 0) {
  const auto initializer = MakeInitializer(text, shape);
  EXPECT_TRUE(initializer.ok()) << initializer.status();
  std::vector<float> values(kSize, 99);
  initializer->Fill(seed, tensor, absl::MakeSpan(values));
  return values;
}

struct Moments {
  double mean = 0;
  double variance = 0;
  double kurtosis = 0;
};

Moments MomentsOf(const std::vector<float>& values) {
  Moments m;
  const auto n = static_cast<double>(values.size());
  for (const float v : values) m.mean += v / n;
  double fourth = 0;
  for (const float v : values) {
    const double square = (v - m.mean) * (v - m.mean);
    m.variance += square / n;
    fourth += square * square / n;
  }
  m.kurtosis = fourth / (m.variance * m.variance);
  return m;
}

TEST(InitializerTest, NormalLawsHaveTheirMoments) {
  const struct {
    const char* text;
    std::vector<uint64_t> shape;
    double variance;
  } cases[] = {
      {"normal:0.02", {10, 10}, 0.0004},
      {"he_normal", {256, 784}, 2.0 / 784},
      {"he_normal", {64, 3, 5, 5}, 2.0 / 75},
      {"he_normal", {100}, 2.0 / 100},
      {"he_normal", {}, 2},
      {"xavier_normal", {256, 784}, 2.0 / (784 + 256)},
      {"xavier_normal", {64, 3, 5, 5}, 2.0 / (75 + 1600)},
      {"xavier_normal", {100}, 2.0 / 200},
  };
  const double n = kSize;
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const Moments m = MomentsOf(Fill(c.text, c.shape));
    EXPECT_NEAR(m.mean, 0, 5 * std::sqrt(c.variance / n));
    EXPECT_NEAR(m.variance / c.variance, 1, 5 * std::sqrt(2 / n));
    EXPECT_NEAR(m.kurtosis, 3, 5 * std::sqrt(24 / n));
  }
}

TEST(InitializerTest, UniformLawsFillTheirBounds) {
  const struct {
    const char* text;
    std::vector<uint64_t> shape;
    double bound;
  } cases[] = {
      {"he_uniform", {256, 784}, std::sqrt(6.0 / 784)},
      {"he_uniform", {100}, std::sqrt(6.0 / 100)},
      {"xavier_uniform", {256, 784}, std::sqrt(6.0 / (784 + 256))},
      {"xavier_uniform", {64, 3, 5, 5}, std::sqrt(6.0 / (75 + 1600))},
  };
  const double n = kSize;
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const std::vector<float> values = Fill(c.text, c.shape);
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    EXPECT_GE(*low, -c.bound);
    EXPECT_LE(*high, c.bound);
    EXPECT_LT(*low, -0.9999 * c.bound);
    EXPECT_GT(*high, 0.9999 * c.bound);
    const Moments m = MomentsOf(values);
    EXPECT_NEAR(m.mean / c.bound, 0, 5 * std::sqrt(1 / (3 * n)));
    EXPECT_NEAR(m.variance / (c.bound * c.bound / 3), 1, 5 * std::sqrt(0.8 / n));
    EXPECT_NEAR(m.kurtosis, 1.8, 0.02);
  }
}

TEST(InitializerTest, ConstantsAreConstant) {
  EXPECT_THAT(Fill("zeros", {3}), Each(0.0F));
  EXPECT_THAT(Fill("constant:-0.1", {3}), Each(-0.1F));
}

// From initializer_reference.py, which has a Philox of its own.
TEST(InitializerTest, UniformValuesAreThoseOfAnIndependentPhilox) {
  const std::vector<float> values = Fill("he_uniform", {7, 5}, 0x123456789ABCDEF0, 3);
  const struct {
    size_t index;
    float value;
  } want[] = {
      {0, 0x1.a042d20000000p-3F},      {1, 0x1.47efea0000000p-1F},
      {2, 0x1.1343c60000000p-1F},      {3, 0x1.67ee900000000p-2F},
      {4, -0x1.1533100000000p+0F},     {1000, 0x1.fb43760000000p-2F},
      {262143, 0x1.b5bf820000000p-2F}, {262144, -0x1.00bf2e0000000p+0F},
      {262149, 0x1.da9e120000000p-2F},
  };
  for (const auto& w : want) EXPECT_EQ(values[w.index], w.value) << w.index;
}

TEST(InitializerTest, DependsOnSeedAndTensor) {
  const std::vector<float> values = Fill("he_normal", {10}, 1, 0);
  EXPECT_EQ(Fill("he_normal", {10}, 1, 0), values);
  EXPECT_NE(Fill("he_normal", {10}, 2, 0), values);
  EXPECT_NE(Fill("he_normal", {10}, 1, 1), values);
}

TEST(InitializerTest, RefusesWithWhatIsAllowed) {
  const struct {
    const char* text;
    const char* want;
  } cases[] = {
      {"", "no initialisation \"\"; known: zeros, constant:V, normal:STD, he_normal"},
      {"orthogonal", "no initialisation \"orthogonal\""},
      {"zeros:1", "no parameter for \"1\""},
      {"he_normal:2", "no parameter for \"2\""},
      {"constant", "value is required"},
      {"constant:nan", "value: \"nan\" is not a number"},
      {"constant:1e31", "value: 1e31 is not in [-1e+30, 1e+30]"},
      {"normal:-1", "std: -1 is not in [0, "},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const absl::Status status = MakeInitializer(c.text, {2, 2}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

}  // namespace
}  // namespace gradwire
