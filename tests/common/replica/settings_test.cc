// SPDX-License-Identifier: Apache-2.0
// Which fields of a job may change while it runs, and what is said of changes that may not.
#include "common/replica/settings.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/replica/job.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

constexpr char kBase[] =
    "model { logistic { inputs: 5 classes: 3 } } steps: 100 seed: 3 trainer { eval_every: 10 } ";

// A job in two versions, and the settings that lead from one to the other and back.
struct Change {
  const char* field;  // of Settings
  const char* before;
  const char* after;
  const char* forth;
  const char* back;
};
constexpr Change kChanges[] = {
    {"steps", "", "", "", ""},  // of kBase itself: see Job()
    {"target", "", "target { metric: 'accuracy' value: 0.5 }",
     "target { metric: 'accuracy' value: 0.5 }", "target {}"},
    {"schedule", "schedule: 'step_decay:at=5,factor=0.1' schedule: 'linear_warmup:10'",
     "schedule: 'cosine:steps=50'", "schedule: 'cosine:steps=50'",
     "schedule: 'step_decay:at=5,factor=0.1' schedule: 'linear_warmup:10'"},
    {"snapshot_every", "", "snapshot_every: 7", "snapshot_every: 7", "snapshot_every: 1000"},
    {"min_workers", "membership { workers: 4 }", "membership { workers: 4 min_workers: 3 }",
     "min_workers: 3", "min_workers: 1"},
    {"lease_seconds", "", "membership { lease_seconds: 2.5 }", "lease_seconds: 2.5",
     "lease_seconds: 10"},
    {"start_timeout_seconds", "", "membership { start_timeout_seconds: 60 }",
     "start_timeout_seconds: 60", "start_timeout_seconds: 600"},
    {"lost_timeout_seconds", "membership { mode: FIXED }",
     "membership { mode: FIXED lost_timeout_seconds: 30 }", "lost_timeout_seconds: 30",
     "lost_timeout_seconds: 600"},
    {"step_timeout_seconds", "", "membership { step_timeout_seconds: 90 }",
     "step_timeout_seconds: 90", "step_timeout_seconds: 0"},
    {"quorum_workers", "membership { workers: 5 } consistency: QUORUM quorum { min_workers: 2 }",
     "membership { workers: 5 } consistency: QUORUM quorum { workers: 3 min_workers: 2 }",
     "quorum_workers: 3", "quorum_workers: 4"},
    {"quorum_min_workers", "membership { workers: 5 } consistency: QUORUM",
     "membership { workers: 5 } consistency: QUORUM quorum { min_workers: 4 }",
     "quorum_min_workers: 4", "quorum_min_workers: 2"},
    {"quorum_deadline_seconds", "membership { workers: 5 } consistency: QUORUM",
     "membership { workers: 5 } consistency: QUORUM quorum { deadline_seconds: 0.25 }",
     "quorum_deadline_seconds: 0.25", "quorum_deadline_seconds: 1"},
    {"learning_rate", "", "learning_rate: 0.05", "learning_rate: 0.05", "learning_rate: 0"},
};

std::shared_ptr<const Job> JobOf(const std::string& text) {
  return MakeTestJob(absl::StrCat(kBase, text));
}

v1::Settings SettingsFrom(const std::string& text) {
  v1::Settings settings;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &settings)) << text;
  return settings;
}

std::string Text(const google::protobuf::Message& message) { return message.ShortDebugString(); }

TEST(SettingsTest, EveryFieldLeadsFromOneJobToAnotherAndBack) {
  std::set<std::string> fields;
  for (const Change& change : kChanges) {
    SCOPED_TRACE(change.field);
    fields.insert(change.field);
    const bool is_steps = std::string(change.field) == "steps";
    const auto before = JobOf(change.before);
    const auto after = is_steps
                           ? MakeTestJob(absl::StrReplaceAll(kBase, {{"steps: 100", "steps: 250"}}))
                           : JobOf(change.after);
    const v1::Settings forth = SettingsFrom(is_steps ? "steps: 250" : change.forth);
    const v1::Settings back = SettingsFrom(is_steps ? "steps: 100" : change.back);
    EXPECT_EQ(Text(SettingsBetween(before->config, after->config)), Text(forth));
    EXPECT_EQ(Text(SettingsBetween(after->config, before->config)), Text(back));
    EXPECT_EQ(IdentityDifference(before->config, after->config), "");
    EXPECT_EQ(before->schema_hash, after->schema_hash);  // a worker's saved state stays good
    const auto changed = WithSettings(before->config, forth);
    ASSERT_TRUE(changed.ok()) << changed.status();
    EXPECT_EQ(Text(*changed), Text(after->config));
    const auto restored = WithSettings(*changed, back);
    ASSERT_TRUE(restored.ok()) << restored.status();
    EXPECT_EQ(Text(*restored), Text(before->config));
    // All fields of a job put into another one with its identity: that job.
    const auto all = WithSettings(after->config, SettingsOf(before->config));
    ASSERT_TRUE(all.ok()) << all.status();
    EXPECT_EQ(Text(*all), Text(before->config));
  }
  const google::protobuf::Descriptor* settings = v1::Settings::descriptor();
  for (int i = 0; i < settings->field_count(); ++i) {
    EXPECT_EQ(fields.count(settings->field(i)->name()), 1u) << settings->field(i)->name();
  }
}

TEST(SettingsTest, WhatIsSoAlreadyIsNoDifference) {
  const v1::JobConfig config = JobOf("target { metric: 'loss' value: 1 }")->config;
  EXPECT_TRUE(gradwire::IsEmpty(SettingsBetween(config, config)));
  const auto same = WithSettings(config, SettingsOf(config));
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(Text(*same), Text(config));
}

TEST(SettingsTest, ZeroStandsForTheDefaultAsInAJobFile) {
  const v1::JobConfig config =
      JobOf("snapshot_every: 7 membership { workers: 3 lease_seconds: 3 }")->config;
  const auto changed = WithSettings(config, SettingsFrom("snapshot_every: 0 lease_seconds: 0"));
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ(changed->snapshot_every(), 1000u);
  EXPECT_EQ(changed->membership().lease_seconds(), 10);
}

// In the words of a job file that has the same mistake.
TEST(SettingsTest, BadValuesAreRefusedAsInAJobFile) {
  struct Case {
    const char* settings;
    const char* message;
  };
  const Case cases[] = {
      {"steps: 0", "steps: missing or 0"},
      {"steps: 1099511627777", "steps: 1099511627777 is not in [1, 1099511627776]"},
      {"snapshot_every: 1099511627777", "snapshot_every: 1099511627777 is not in [1, "},
      {"min_workers: 2", "membership.min_workers: 2 is not in [1, 1]"},
      {"lease_seconds: 0.05", "membership.lease_seconds: 0.05 is not in [0.1, 3600]"},
      {"lease_seconds: nan", "membership.lease_seconds: nan is not in"},
      {"start_timeout_seconds: -1", "membership.start_timeout_seconds: -1 is not in [0.1, 604800]"},
      {"lost_timeout_seconds: 5", "of no use with membership.mode ELASTIC"},
      {"step_timeout_seconds: 1e9", "membership.step_timeout_seconds: 1e+09 is not in"},
      {"quorum_workers: 1", "quorum: of no use with consistency SYNC"},
      {"target { metric: 'accuracy' value: nan }", "target.value: nan is not finite"},
      {"schedule: 'constant' schedule: 'cosin'", "schedule[1]: \"cosin\": no schedule"},
  };
  const v1::JobConfig config = JobOf("")->config;
  for (const Case& one : cases) {
    SCOPED_TRACE(one.settings);
    const auto changed = WithSettings(config, SettingsFrom(one.settings));
    EXPECT_EQ(changed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(changed.status().message()), HasSubstr(one.message));
  }
  const auto no_eval =
      WithSettings(MakeTestJob(absl::StrReplaceAll(kBase, {{"10 }", "0 }"}}))->config,
                   SettingsFrom("target { metric: 'accuracy' value: 0.5 }"));
  EXPECT_THAT(std::string(no_eval.status().message()), HasSubstr("trainer.eval_every"));
}

TEST(SettingsTest, AScheduleThatFitsInNoHeaderIsRefused) {
  v1::JobConfig config = JobOf("")->config;
  config.clear_schedule();
  for (int i = 0; i < 33; ++i) config.add_schedule("constant");
  EXPECT_THAT(std::string(MakeJob(config).status().message()),
              HasSubstr("schedule: 33 factors, at most 32 are allowed"));
  config.clear_schedule();
  config.add_schedule("constant");
  config.add_schedule(absl::StrCat("constant:", std::string(4096, 'x')));
  EXPECT_THAT(std::string(MakeJob(config).status().message()),
              HasSubstr("schedule[1]: 4105 bytes, at most 4096 are allowed"));
}

TEST(SettingsTest, AnIdentityDifferenceIsNamedWithBothValues) {
  struct Case {
    const char* before;
    const char* after;
    const char* difference;
  };
  const Case cases[] = {
      {"name: 'a'", "name: 'b'", "modified: name: \"a\" -> \"b\""},
      {"", "codec: 'bf16'", "modified: codec: \"identity\" -> \"bf16\""},
      {"", "optimizer: 'adam:lr=1'", "modified: optimizer: \"sgd:lr=0.1\" -> \"adam:lr=1\""},
      {"", "perturbation: 'gaussian:1'", "modified: perturbation: "},
      {"", "error_feedback: 'none'", "modified: error_feedback: \"auto\" -> \"none\""},
      {"", "downlink: 'aggregate'", "modified: downlink: "},
      {"", "reset: 'reset:radius=1'", "modified: reset: "},
      {"", "clip: 'norm:1'", "modified: clip: "},
      {"", "hash_every: 5", "modified: hash_every: 100 -> 5"},
      {"", "membership { workers: 2 }", "modified: membership.workers: 1 -> 2"},
      {"", "membership { mode: FIXED }", "modified: membership.mode: ELASTIC -> FIXED"},
      {"", "consistency: QUORUM", "modified: consistency: SYNC -> QUORUM"},
      {"", "model { logistic { inputs: 5 classes: 4 } }",
       "modified: model.logistic.classes: 3 -> 4"},
      {"", "trainer { eval_every: 10 batch: 32 }", "modified: trainer.batch: 64 -> 32"},
      {"", "tensors { name: '*' codec: 'bf16' }", "added: tensors[0]: "},
      // An operational field that differs as well is not the one to name.
      {"snapshot_every: 5", "snapshot_every: 6 seed: 4", "modified: seed: 3 -> 4"},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.after);
    const auto text = [](const char* more) {
      std::string text = more;
      for (const char* part : {"model { logistic { inputs: 5 classes: 3 } }", "steps: 100",
                               "seed: 3", "trainer { eval_every: 10 }"}) {
        const std::string name = std::string(part).substr(0, std::string(part).find_first_of(": "));
        if (!absl::StrContains(more, name)) absl::StrAppend(&text, " ", part);
      }
      return text;
    };
    EXPECT_THAT(IdentityDifference(MakeTestJob(text(one.before))->config,
                                   MakeTestJob(text(one.after))->config),
                HasSubstr(one.difference));
  }
}

TEST(SettingsTest, TextIsReadBackByTheNamesOfTheJobFile) {
  const std::vector<std::string> assignments = {"steps=200",
                                                "snapshot_every=5",
                                                "membership.min_workers=2",
                                                "membership.lease_seconds=2.5",
                                                "membership.start_timeout_seconds=60",
                                                "membership.lost_timeout_seconds=30",
                                                "membership.step_timeout_seconds=0",
                                                "quorum.workers=3",
                                                "quorum.min_workers=2",
                                                "quorum.deadline_seconds=0.25",
                                                "target.metric=accuracy",
                                                "target.value=0.85",
                                                "schedule=step_decay:at=5+9,factor=0.1;constant"};
  const auto settings = ParseSettings(assignments);
  ASSERT_TRUE(settings.ok()) << settings.status();
  const v1::Settings expected = SettingsFrom(
      "steps: 200 snapshot_every: 5 min_workers: 2 lease_seconds: 2.5 start_timeout_seconds: 60 "
      "lost_timeout_seconds: 30 step_timeout_seconds: 0 quorum_workers: 3 quorum_min_workers: 2 "
      "quorum_deadline_seconds: 0.25 target { metric: 'accuracy' value: 0.85 } "
      "schedule: 'step_decay:at=5+9,factor=0.1' schedule: 'constant'");
  EXPECT_EQ(Text(*settings), Text(expected));
  EXPECT_EQ(std::vector<std::string>(absl::StrSplit(SettingsText(expected), ' ')), assignments);
  const auto rate = ParseSettings({"lr=0.25"});
  ASSERT_TRUE(rate.ok()) << rate.status();
  EXPECT_EQ(Text(*rate), "learning_rate: 0.25");
  EXPECT_THAT(std::string(ParseSettings({"lr=1", "learning_rate=2"}).status().message()),
              HasSubstr("learning_rate is set twice"));
  const auto cleared = ParseSettings({"target.metric=", "schedule="});
  ASSERT_TRUE(cleared.ok()) << cleared.status();
  EXPECT_EQ(Text(*cleared), Text(SettingsFrom("target {} schedule: 'constant'")));
}

TEST(SettingsTest, WrongAssignmentsAreNamed) {
  struct Case {
    std::vector<std::string> assignments;
    const char* message;
  };
  const Case cases[] = {
      {{"steps"}, "\"steps\": NAME=VALUE is needed; these can be set: steps, "},
      {{"steps=1e3"}, "\"steps=1e3\": a whole number below 2^64 is needed"},
      {{"steps=-1"}, "a whole number"},
      {{"membership.min_workers=4294967296"}, "a whole number below 2^32 is needed"},
      {{"quorum.deadline_seconds=soon"}, "\"quorum.deadline_seconds=soon\": a number is needed"},
      {{"target.value=x", "target.metric=loss"}, "\"target.value=x\": a number is needed"},
      {{"target.value=1"}, "target.metric and target.value are set together"},
      {{"target.metric=loss"}, "target.metric and target.value are set together"},
      {{"steps=1", "steps=2"}, "steps is set twice"},
      {{"codec=bf16"}, "codec is part of what the job is, and stays as it is; these can be set: "},
      {{"membership.workers=3"}, "membership.workers is part of what the job is"},
      {{"trainer.batch=3"}, "trainer.batch is part of what the job is"},
      {{"min_workers=3"},
       "a job has no min_workers; these can be set: steps, snapshot_every, "
       "membership.min_workers, "},
      {{"steps.x=3"}, "a job has no steps.x"},
      {{"=3"}, "a job has no ;"},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.assignments.front());
    const auto settings = ParseSettings(one.assignments);
    EXPECT_EQ(settings.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(settings.status().message()), HasSubstr(one.message));
  }
}

}  // namespace
}  // namespace gradwire
