// SPDX-License-Identifier: Apache-2.0
// The texts of error feedback, downlink and reset: what they give, and what is said of mistakes.
#include "common/codec/feedback.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace gradwire {
namespace {

using testing::HasSubstr;

TEST(FeedbackSpecTest, NamesAKindOfErrorFeedback) {
  const struct {
    const char* spec;
    bool automatic;
    Feedback kind;
    float beta;
  } cases[] = {
      {"auto", true, Feedback::kClassic, 0},
      {"none", false, Feedback::kNone, 0},
      {"classic", false, Feedback::kClassic, 0},
      {"ef21", false, Feedback::kEf21, 0},
      {"ef21_sgdm", false, Feedback::kEf21Sgdm, 0.1F},
      {"ef21_sgdm:1", false, Feedback::kEf21Sgdm, 1},
      {"ef21_sgdm:beta=0.25", false, Feedback::kEf21Sgdm, 0.25F},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.spec);
    const auto feedback = ParseErrorFeedback(c.spec);
    ASSERT_TRUE(feedback.ok()) << feedback.status();
    EXPECT_EQ(feedback->automatic, c.automatic);
    EXPECT_EQ(feedback->kind, c.kind);
    EXPECT_EQ(feedback->beta, c.beta);
  }
}

TEST(FeedbackSpecTest, NamesADownlink) {
  EXPECT_EQ(*ParseDownlink("auto"), DownlinkChoice::kAuto);
  EXPECT_EQ(*ParseDownlink("aggregate"), DownlinkChoice::kAggregate);
  EXPECT_EQ(*ParseDownlink("compressed"), DownlinkChoice::kCompressed);
}

TEST(FeedbackSpecTest, NamesWhenResidualsAreGivenUp) {
  using Action = ResidualReset::Action;
  const struct {
    const char* spec;
    Action action;
    uint64_t steps;
    double radius;
  } cases[] = {
      {"none", Action::kNone, 0, 0},
      {"reset:1000", Action::kReset, 1000, 0},
      {"reset:radius=0.5", Action::kReset, 0, 0.5},
      {"flush:steps=7,radius=2", Action::kFlush, 7, 2},
      {"flush:1e12", Action::kFlush, 1000000000000, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.spec);
    const auto reset = ParseResidualReset(c.spec);
    ASSERT_TRUE(reset.ok()) << reset.status();
    EXPECT_EQ(reset->action, c.action);
    EXPECT_EQ(reset->steps, c.steps);
    EXPECT_EQ(reset->radius, c.radius);
  }
}

TEST(FeedbackSpecTest, RefusesByNameValueAndLimit) {
  const auto feedback = [](absl::string_view s) { return ParseErrorFeedback(s).status(); };
  const auto downlink = [](absl::string_view s) { return ParseDownlink(s).status(); };
  const auto reset = [](absl::string_view s) { return ParseResidualReset(s).status(); };
  const struct {
    std::function<absl::Status(absl::string_view)> parse;
    const char* spec;
    const char* want;
  } cases[] = {
      {feedback, "", "\"\": not known; there are: auto, none, classic"},
      {feedback, "EF21", "not known"},
      {feedback, "ef21:0.1", "no parameter for \"0.1\""},
      {feedback, "auto:1", "no parameter for \"1\""},
      {feedback, "ef21_sgdm:0", "beta: 0 is not in (0, 1]"},
      {feedback, "ef21_sgdm:beta=1.5", "beta: 1.5 is not in (0, 1]"},
      {feedback, "ef21_sgdm:beta=nan", "beta: \"nan\" is not a number"},
      {downlink, "both", "not known; there are: auto, aggregate, compressed"},
      {downlink, "auto:1", "no parameter for \"1\""},
      {reset, "never", "not known; there are: none, reset, flush"},
      {reset, "none:steps=3", "steps"},
      {reset, "reset", "it would never happen; set steps or radius above 0"},
      {reset, "flush:0", "it would never happen"},
      {reset, "reset:2.5", "steps: 2.5 is not a whole number"},
      {reset, "reset:-1", "steps: -1 is not in [0, 1e+12]"},
      {reset, "reset:radius=-1", "radius: -1 is not in [0, 1e+30]"},
      {reset, "reset:1,radius=inf", "radius: \"inf\" is not a number"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.spec);
    const absl::Status status = c.parse(c.spec);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

}  // namespace
}  // namespace gradwire
