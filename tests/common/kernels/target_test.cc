// SPDX-License-Identifier: Apache-2.0
// Choosing the kernel target by name.
#include "common/kernels/target.h"

#include <string>
#include <vector>

#include "common/kernels/simd_targets.h"
// Highway reads the list above.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hwy/highway.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

TEST(KernelTargetTest, ScalarIsAlwaysThereAndTheBestIsInForceAtFirst) {
  const std::vector<std::string> targets = KernelTargets();
  ASSERT_FALSE(targets.empty());
  EXPECT_EQ(targets.front(), "scalar");
  EXPECT_EQ(KernelTarget(), targets.back());
}

TEST(KernelTargetTest, EveryListedTargetCanBeForcedAndIsThenTheOneHighwayTakes) {
  const std::vector<std::string> before = KernelTargets();
  for (const std::string& name : before) {
    ASSERT_TRUE(SetKernelTarget(name).ok()) << name;
    EXPECT_EQ(KernelTarget(), name);
    EXPECT_EQ(UseScalarKernels(), name == "scalar");
    EXPECT_EQ(KernelTargets(), before) << "the list must not shrink by forcing";
    if (name == "sse4") {
      EXPECT_EQ(hwy::SupportedTargets(), HWY_SSE4);
    }
    if (name == "avx2") {
      EXPECT_EQ(hwy::SupportedTargets(), HWY_AVX2);
    }
    if (name == "avx512") {
      EXPECT_EQ(hwy::SupportedTargets(), HWY_AVX3);
    }
  }
  ASSERT_TRUE(SetKernelTarget("auto").ok());
  EXPECT_EQ(KernelTarget(), before.back());
}

TEST(KernelTargetTest, UnknownNameIsRefusedNamingWhatThereIsAndChangesNothing) {
  ASSERT_TRUE(SetKernelTarget("scalar").ok());
  for (const char* name : {"", "AVX2", "neonish", "sse2"}) {
    const absl::Status status = SetKernelTarget(name);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("auto, scalar"));
    EXPECT_EQ(KernelTarget(), "scalar");
  }
  ASSERT_TRUE(SetKernelTarget("auto").ok());
}

}  // namespace
}  // namespace gradwire
