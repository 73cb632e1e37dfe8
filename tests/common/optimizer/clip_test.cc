// SPDX-License-Identifier: Apache-2.0
// Clipping: its texts, and PyTorch's factor.
#include "common/optimizer/clip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace gradwire {
namespace {

using testing::HasSubstr;

TEST(ClipTest, IsMadeFromItsSpec) {
  EXPECT_EQ(ParseClip("none")->kind, Clip::Kind::kNone);
  EXPECT_EQ(ParseClip("norm:1")->kind, Clip::Kind::kNorm);
  EXPECT_EQ(ParseClip("norm:limit=2.5")->limit, 2.5F);
  EXPECT_EQ(ParseClip("value:0.5")->kind, Clip::Kind::kValue);
  EXPECT_EQ(ParseClip("value:0.5")->limit, 0.5F);
  const struct {
    const char* spec;
    const char* want;
  } refused[] = {
      {"", "\"\": not known; there are: none, norm, value"},
      {"norm", "limit is required"},
      {"norm:0", "limit: 0 is not in ["},
      {"value:-1", "limit: -1 is not in ["},
      {"value:nan", "limit: \"nan\" is not a number"},
      {"none:1", "no parameter for \"1\""},
  };
  for (const auto& c : refused) {
    SCOPED_TRACE(c.spec);
    const absl::Status status = ParseClip(c.spec).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

// torch.nn.utils.clip_grad_norm_: max_norm / (norm + 1e-6), at most 1.
TEST(ClipTest, FactorIsThatOfPyTorch) {
  const struct {
    float limit;
    double norm;
    double want;
  } cases[] = {
      {1, 0, 1},
      {1, 0.5, 1},
      {1, 0.9999989, 1},  // the limit is met at 1 - 1e-6
      {1, 1, 1 / 1.000001},
      {1, 2, 1 / 2.000001},
      {2.5F, 10, 2.5 / 10.000001},
      {1e-20F, 1, 1e-20 / 1.000001},
      {1, 1e300, 0},
      {1, std::numeric_limits<double>::infinity(), 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.norm);
    EXPECT_NEAR(ClipFactor(c.limit, c.norm), c.want, 1e-7 * c.want);
  }
}

}  // namespace
}  // namespace gradwire
