// SPDX-License-Identifier: Apache-2.0
// The notation of spec.h: what it accepts, what it fills in, what it says when it refuses.
#include "common/base/spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace gradwire {
namespace {

using testing::HasSubstr;

const std::vector<SpecParameter>& Parameters() {
  using Kind = SpecParameter::Kind;
  static const std::vector<SpecParameter> parameters = {
      {.name = "ratio", .default_value = "", .max = 1, .open_min = true, .help = ""},
      {.name = "values",
       .kind = Kind::kWord,
       .default_value = "fp32",
       .words = {"fp32", "bf16"},
       .help = ""},
      {.name = "at",
       .kind = Kind::kNumbers,
       .default_value = "5+6",
       .min = 1,
       .max = 2000,
       .help = ""},
  };
  return parameters;
}

TEST(SpecTest, NameStandsBeforeTheColon) {
  EXPECT_EQ(SpecName("random_k:0.01"), "random_k");
  EXPECT_EQ(SpecName("identity"), "identity");
  EXPECT_EQ(SpecName(":1"), "");
  EXPECT_EQ(SpecName(""), "");
}

TEST(SpecTest, AcceptsPositionsNamesAndDefaults) {
  const struct {
    const char* spec;
    double ratio;
    const char* values;
    std::vector<double> at;
  } cases[] = {
      {"c:0.01", 0.01, "fp32", {5, 6}},
      {"c:1", 1, "fp32", {5, 6}},
      {"c:ratio=0.5,values=bf16", 0.5, "bf16", {5, 6}},
      {"c:0.5,bf16,1000+1500", 0.5, "bf16", {1000, 1500}},
      {"c:values=bf16,0.25", 0.25, "bf16", {5, 6}},
      {"c:values=bf16,0.25,7", 0.25, "bf16", {7}},
      {"c:1e-3,at=2000", 1e-3, "fp32", {2000}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.spec);
    const auto values = ParseSpecArguments(c.spec, Parameters());
    ASSERT_TRUE(values.ok()) << values.status();
    EXPECT_EQ(values->Number("ratio"), c.ratio);
    EXPECT_EQ(values->Word("values"), c.values);
    EXPECT_EQ(values->Numbers("at"), c.at);
  }
}

TEST(SpecTest, RefusesWithNameValueAndLimit) {
  const struct {
    const char* spec;
    const char* want;
  } cases[] = {
      {"c", "\"c\": ratio is required"},
      {"c:", "ratio has no value"},
      {"c:0", "ratio: 0 is not in (0, 1]"},
      {"c:2", "\"c:2\": ratio: 2 is not in (0, 1]"},
      {"c:-1", "ratio: -1 is not in (0, 1]"},
      {"c:nan", "ratio: \"nan\" is not a number"},
      {"c:inf", "ratio: \"inf\" is not a number"},
      {"c:1e999", "ratio: \"1e999\" is not a number"},
      {"c:0.1x", "ratio: \"0.1x\" is not a number"},
      {"c:ratio=", "ratio has no value"},
      {"c:0.1,ratio=0.2", "ratio is given twice"},
      {"c:0.1,values=fp8", "values: \"fp8\" is not one of fp32, bf16"},
      {"c:0.1,k=3", "no parameter for \"k=3\"; known: ratio, values, at"},
      {"c:0.1,bf16,5,6", "no parameter for \"6\""},
      {"c:0.1,at=5+", "at: \"\" is not a number"},
      {"c:0.1,at=0+5", "at: 0 is not in [1, 2000]"},
      {"c:0.1,at=5+2001", "at: 2001 is not in [1, 2000]"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.spec);
    const auto values = ParseSpecArguments(c.spec, Parameters());
    EXPECT_EQ(values.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(values.status().message()), HasSubstr(c.want));
  }
}

TEST(SpecTest, TakesNoArgumentsWhereNoneAreDeclared) {
  EXPECT_TRUE(ParseSpecArguments("none", {}).ok());
  EXPECT_THAT(std::string(ParseSpecArguments("none:1", {}).status().message()),
              HasSubstr("no parameter for \"1\"; it takes none"));
}

}  // namespace
}  // namespace gradwire
