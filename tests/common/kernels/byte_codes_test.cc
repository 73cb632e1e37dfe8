// SPDX-License-Identifier: Apache-2.0
// Rounding to bytes and back, against arithmetic in double.
#include "common/kernels/byte_codes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/kernels/targets.h"

namespace gradwire {
namespace {

TEST(RoundToBytesTest, IsTheNearestCodeOfTheQuotientUnderEveryTarget) {
  for (const size_t n : TestSizes()) {
    const std::vector<float> x = HardValues(n, 31);
    for (const float scale : {1e-45f, 1e-38f, 0.01f, 1.0f, 0.3f, 515.0f, 2.6e36f}) {
      ForEachTarget([&] {
        std::vector<int8_t> codes(n + 1, 99);
        RoundToBytes(x.data(), scale, codes.data(), n);
        for (size_t i = 0; i < n; ++i) {
          const double quotient = x[i] / scale;  // in float, as stated; may be infinite
          const double nearest = std::nearbyint(std::clamp(quotient, -127.0, 127.0));
          ASSERT_EQ(codes[i], nearest) << x[i] << " / " << scale;
        }
        EXPECT_EQ(codes[n], 99) << "one beyond the end";
      });
    }
  }
}

TEST(RoundToBytesTest, TiesGoToTheEvenCode) {
  const std::vector<float> x = {0.5f,  1.5f,   2.5f,   -0.5f,   -1.5f,
                                -2.5f, 125.5f, 126.5f, -126.5f, 200};
  ForEachTarget([&] {
    std::vector<int8_t> codes(x.size());
    RoundToBytes(x.data(), 1.0f, codes.data(), x.size());
    EXPECT_THAT(codes, testing::ElementsAre(0, 2, 2, 0, -2, -2, 126, 126, -126, 127));
  });
}

TEST(ScaleBytesTest, EveryCodeTimesTheScaleUnderEveryTarget) {
  std::vector<int8_t> codes;
  for (int code = -128; code < 128; ++code) codes.push_back(static_cast<int8_t>(code));
  for (const float scale : {0.0f, 1e-45f, 0.3f, 2.6e36f, std::numeric_limits<float>::max()}) {
    ForEachTarget([&] {
      for (const size_t n : {size_t{0}, size_t{1}, size_t{13}, codes.size()}) {
        std::vector<float> out(n + 1, 99.0f);
        ScaleBytes(codes.data(), scale, out.data(), n);
        for (size_t i = 0; i < n; ++i) {
          EXPECT_EQ(out[i], static_cast<float>(double{scale} * codes[i]));
        }
        EXPECT_EQ(out[n], 99.0f);
      }
    });
  }
}

}  // namespace
}  // namespace gradwire
