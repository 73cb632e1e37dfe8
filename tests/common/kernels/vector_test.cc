// SPDX-License-Identifier: Apache-2.0
// The elementwise loops: against their definition, one rounding per operation,
// under every target, at any length and alignment.
#include "common/kernels/vector.h"

#include <functional>

#include "gtest/gtest.h"
#include "tests/common/kernels/targets.h"

namespace gradwire {
namespace {

// An operation y := op(x, y), and what it must give for one pair.  A double
// holds the exact sum or product of most floats, so the definition rounds through volatile
// floats instead: no compiler may fuse or widen them.
struct Operation {
  const char* name;
  std::function<void(const float* x, float* y, size_t n)> run;
  std::function<float(float x, float y)> want;
};

float Rounded(float x) {
  volatile float kept = x;
  return kept;
}

const std::vector<Operation>& Operations() {
  static const auto* const operations = new std::vector<Operation>{
      {"Add", Add, [](float x, float y) { return Rounded(y + x); }},
      {"Subtract", Subtract, [](float x, float y) { return Rounded(y - x); }},
      {"AddScaled", [](const float* x, float* y, size_t n) { AddScaled(-0.3f, x, y, n); },
       [](float x, float y) { return Rounded(y + Rounded(-0.3f * x)); }},
      {"Divide", [](const float* x, float* y, size_t n) { Divide(x, 3.0f, y, n); },
       [](float x, float) { return Rounded(x / 3.0f); }},
      {"Divide in place", [](const float*, float* y, size_t n) { Divide(y, 7.0f, y, n); },
       [](float, float y) { return Rounded(y / 7.0f); }},
  };
  return *operations;
}

TEST(VectorTest, EveryTargetGivesTheBitsOfTheDefinition) {
  for (const Operation& operation : Operations()) {
    for (const size_t n : TestSizes()) {
      for (size_t offset = 0; offset < 4; ++offset) {
        SCOPED_TRACE(std::string(operation.name) + " n=" + std::to_string(n) + " offset " +
                     std::to_string(offset));
        const std::vector<float> x = ValuesWithNonFinite(n + offset, 1);
        const std::vector<float> y = HardValues(n + offset + 1, 2);
        std::vector<float> want = y;
        for (size_t i = offset; i < n + offset; ++i) want[i] = operation.want(x[i], y[i]);
        ForEachTarget([&] {
          std::vector<float> got = y;
          operation.run(x.data() + offset, got.data() + offset, n);
          EXPECT_EQ(BitsOf(got), BitsOf(want));
        });
      }
    }
  }
}

// 1 + 2^-12 squared is 1 + 2^-11 + 2^-24: a fused multiply-add would keep the last term.
TEST(VectorTest, AddScaledRoundsTheProductBeforeTheSum) {
  const float x = 1.0f + 0x1p-12f;
  ForEachTarget([&] {
    for (const size_t n : {size_t{1}, size_t{40}}) {
      const std::vector<float> factors(n, x);
      std::vector<float> sum(n, -(1.0f + 0x1p-11f));
      AddScaled(x, factors.data(), sum.data(), n);
      EXPECT_EQ(sum, std::vector<float>(n, 0.0f));
    }
  });
}

TEST(VectorTest, FirstNonFiniteFindsEachPlaceAndEachKind) {
  const float kinds[] = {std::numeric_limits<float>::infinity(),
                         -std::numeric_limits<float>::infinity(),
                         std::numeric_limits<float>::quiet_NaN()};
  ForEachTarget([&] {
    for (const size_t n : TestSizes()) {
      std::vector<float> x = HardValues(n, 3);
      EXPECT_EQ(FirstNonFinite(x.data(), n), n);
      for (size_t i = n; i-- > 0;) {
        const float kept = x[i];
        x[i] = kinds[i % 3];
        EXPECT_EQ(FirstNonFinite(x.data(), n), i);
        if (i % 2 == 0) x[i] = kept;  // some stay: the first counts
      }
    }
  });
}

TEST(VectorTest, MaxMagnitudeIsTheGreatestAndInfiniteForWhatIsNotFinite) {
  ForEachTarget([&] {
    EXPECT_EQ(MaxMagnitude(nullptr, 0), 0.0f);
    for (const size_t n : TestSizes()) {
      for (size_t i = 0; i < n; i += 1 + n / 20) {
        std::vector<float> x(n, i % 2 == 0 ? -0.5f : 0.5f);
        x[i] = i % 3 == 0 ? -2.0f : 2.0f;
        EXPECT_EQ(MaxMagnitude(x.data(), n), 2.0f);
        for (const float kind :
             {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
              -std::numeric_limits<float>::quiet_NaN()}) {
          x[i] = kind;
          EXPECT_EQ(MaxMagnitude(x.data(), n), std::numeric_limits<float>::infinity());
        }
      }
    }
  });
}

TEST(VectorTest, FirstNonFiniteSumFindsOverflowWhereBothTermsAreFinite) {
  ForEachTarget([&] {
    for (const size_t n : TestSizes()) {
      for (size_t i = 0; i < n; i += 1 + n / 20) {
        std::vector<float> sum(n, 3e38f);
        std::vector<float> x(n, 0.2e38f);
        EXPECT_EQ(FirstNonFiniteSum(sum.data(), 2.0f, x.data(), n), n);
        x[i] = 0.3e38f;  // 3e38 + 2 * 0.3e38 = 3.6e38 > 3.4e38
        EXPECT_EQ(FirstNonFiniteSum(sum.data(), 2.0f, x.data(), n), i);
        EXPECT_EQ(FirstNonFiniteSum(sum.data(), 1.0f, x.data(), n), n);
        x[i] = std::numeric_limits<float>::quiet_NaN();
        EXPECT_EQ(FirstNonFiniteSum(sum.data(), 0.0f, x.data(), n), i);
      }
    }
  });
}

// Sums of sixteen lanes in double, then of the lanes in order.
TEST(VectorTest, SumsOfSquaresHaveTheStatedOrderUnderEveryTarget) {
  for (const size_t n : {0, 1, 15, 16, 17, 31, 33, 1000}) {
    SCOPED_TRACE(n);
    const std::vector<float> x = HardValues(n, 5);
    const std::vector<float> y = HardValues(n, 6);
    double squares[16] = {};
    double distances[16] = {};
    for (size_t i = 0; i < n; ++i) {
      squares[i % 16] += double{x[i]} * double{x[i]};
      const double distance = double{x[i]} - double{y[i]};
      distances[i % 16] += distance * distance;
    }
    double square = 0;
    double distance = 0;
    for (size_t lane = 0; lane < 16; ++lane) {
      square += squares[lane];
      distance += distances[lane];
    }
    ForEachTarget([&] {
      EXPECT_EQ(SumOfSquares(x.data(), n), square);
      EXPECT_EQ(SquaredDistance(x.data(), y.data(), n), distance);
    });
  }
}

TEST(VectorTest, SumsOfSquaresDoNotOverflow) {
  const std::vector<float> x(1000, 3e38f);
  const std::vector<float> y(1000, -3e38f);
  const double each = double{3e38f} * double{3e38f};
  EXPECT_NEAR(SumOfSquares(x.data(), 1000) / (1000 * each), 1, 1e-12);
  EXPECT_NEAR(SquaredDistance(x.data(), y.data(), 1000) / (4000 * each), 1, 1e-12);
}

}  // namespace
}  // namespace gradwire
