// SPDX-License-Identifier: Apache-2.0
// SetFloatEnvironment undoes what a library may have done to the thread.
#include "common/base/float_environment.h"

#include <gtest/gtest.h>

#include <cfenv>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace gradwire {
namespace {

// Volatile, so that the unit and not the compiler computes.
float Third() {
  volatile float one = 1.0F;
  volatile float three = 3.0F;
  return one / three;
}

TEST(FloatEnvironmentTest, RestoresRoundingToNearest) {
  for (const int mode : {FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO}) {
    SCOPED_TRACE(mode);
    std::fesetround(mode);
    SetFloatEnvironment();
    EXPECT_EQ(Third(), 0x1.555556p-2F);  // 1/3 to nearest; down and to zero give ...554
    EXPECT_EQ(-Third(), -0x1.555556p-2F);
  }
}

#if defined(__SSE2__)
TEST(FloatEnvironmentTest, KeepsDenormals) {
  constexpr unsigned kFlushAndZero = 0x8040;
  _mm_setcsr(_mm_getcsr() | kFlushAndZero);
  volatile float smallest_normal = 0x1p-126F;
  EXPECT_EQ(smallest_normal * 0.5F, 0.0F) << "the flags did not take: the test shows nothing";
  SetFloatEnvironment();
  EXPECT_EQ(smallest_normal * 0.5F, 0x1p-127F);
  volatile float denormal = 0x1p-149F;
  EXPECT_EQ(denormal * 2.0F, 0x1p-148F);
}
#endif

}  // namespace
}  // namespace gradwire
