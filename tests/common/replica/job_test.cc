// SPDX-License-Identifier: Apache-2.0
// Jobs: their defaults, and what is said of every kind of mistake in them.
#include "common/replica/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/replica/file.h"
#include "tests/common/replica/small_job.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(JobTest, DefaultsAreThoseOfJobProto) {
  const auto job = Make(kSmall);
  ASSERT_TRUE(job.ok()) << job.status();
  const v1::JobConfig& config = (*job)->config;
  EXPECT_EQ(config.name(), "job");
  EXPECT_EQ(config.seed(), 1U);
  EXPECT_EQ(config.codec(), "identity");
  EXPECT_EQ(config.optimizer(), "sgd:lr=0.1");
  EXPECT_THAT(config.schedule(), ElementsAre("constant"));
  EXPECT_EQ(config.perturbation(), "none");
  EXPECT_EQ(config.error_feedback(), "auto");
  EXPECT_EQ(config.downlink(), "auto");
  EXPECT_EQ(config.reset(), "none");
  EXPECT_EQ(config.clip(), "none");
  EXPECT_EQ(config.consistency(), v1::SYNC);
  EXPECT_EQ(config.membership().mode(), v1::Membership::ELASTIC);
  EXPECT_EQ(config.membership().workers(), 1U);
  EXPECT_EQ(config.membership().min_workers(), 1U);
  EXPECT_EQ(config.membership().lease_seconds(), 10);
  EXPECT_EQ(config.membership().start_timeout_seconds(), 600);
  EXPECT_EQ(config.membership().step_timeout_seconds(), 0);
  EXPECT_EQ(config.trainer().batch(), 64U);
  EXPECT_EQ(config.trainer().eval_every(), 0U);
  EXPECT_EQ(config.snapshot_every(), 1000U);
  EXPECT_EQ(config.hash_every(), 100U);
  EXPECT_EQ(config.model().logistic().init(), "zeros");
  EXPECT_EQ((*job)->layout.dimension(), 18U);
  EXPECT_EQ((*job)->plans[0].codec->id(), v1::CODEC_IDENTITY);
  EXPECT_EQ((*job)->optimizer->learning_rate(), 0.1F);
  EXPECT_EQ((*job)->perturbation.std, 0);
}

TEST(JobTest, ReplicaHashesAreRarerWhereTheModelIsLarge) {
  const struct {
    size_t dimension;
    const char* rest;
    uint64_t want;
  } cases[] = {
      {1, "", 100},
      {10'000'000, "", 100},
      {10'100'000, "", 101},
      {100'000'000, "", 1000},
      {100'000'000, "hash_every: 7", 7},
  };
  for (const auto& c : cases) {
    const auto job = Make(absl::StrCat("model { tensors { tensor { name: 'w' shape: ", c.dimension,
                                       " } } } steps: 1 ", c.rest));
    ASSERT_TRUE(job.ok()) << job.status();
    EXPECT_EQ((*job)->config.hash_every(), c.want) << c.dimension;
  }
}

// Choices that came later leave no trace in a job that does not make them: its filled text, which
// snapshots hold, and its hash are those of the first version.
TEST(JobTest, AJobOfTheFirstVersionIsFilledAsItWas) {
  const auto job = Make(kSmall);
  ASSERT_TRUE(job.ok()) << job.status();
  const v1::JobConfig& config = (*job)->config;
  EXPECT_FALSE(config.has_quorum());
  EXPECT_EQ(config.membership().ShortDebugString(),
            "mode: ELASTIC workers: 1 min_workers: 1 lease_seconds: 10 start_timeout_seconds: 600");
  // As in tests/golden/replica/mlp.safetensors, which the first release wrote.
  const auto golden =
      Make("model { mlp { inputs: 3 hidden: 4 classes: 2 } } steps: 9 optimizer: 'sgd:0.1,0.9'");
  ASSERT_TRUE(golden.ok()) << golden.status();
  EXPECT_EQ((*golden)->schema_hash, 0x5ce04d5461980113U);
}

TEST(JobTest, ATargetIsRefusedWhereItCanNeverBeSeen) {
  const std::string job = std::string(kSmall) + "trainer { eval_every: 10 } ";
  EXPECT_TRUE(Make(job + "target { metric: 'accuracy' value: 0.9 }").ok());
  const struct {
    std::string text;
    const char* names;
  } cases[] = {{job + "target { value: 1 }", "target.metric"},
               {job + "target { metric: 'loss' value: inf }", "target.value"},
               {std::string(kSmall) + "target { metric: 'loss' value: 1 }", "trainer.eval_every"}};
  for (const auto& c : cases) {
    const auto made = Make(c.text);
    EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(std::string(made.status().message()), testing::HasSubstr(c.names));
  }
}

TEST(JobTest, SaddleHasItsDefaults) {
  const auto job = Make("model { quadratic_saddle { dimension: 3 } } steps: 1");
  ASSERT_TRUE(job.ok()) << job.status();
  const v1::QuadraticSaddle& saddle = (*job)->config.model().quadratic_saddle();
  EXPECT_EQ(saddle.negative(), 1U);
  EXPECT_EQ(saddle.gamma(), 1);
  EXPECT_EQ(saddle.curvature(), 1);
  EXPECT_EQ(saddle.wall(), 0);
}

TEST(JobTest, FilledConfigMakesTheSameJob) {
  const auto job = Make(kSmall);
  ASSERT_TRUE(job.ok());
  const auto again = MakeJob((*job)->config);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(JobText((*again)->config), JobText((*job)->config));
  EXPECT_EQ((*again)->schema_hash, (*job)->schema_hash);
}

TEST(JobTest, LearningRateFollowsAllSchedules) {
  const auto job = Make(std::string(kSmall) +
                        "optimizer: 'sgd:lr=0.5' schedule: 'linear_warmup:4' "
                        "schedule: 'step_decay:at=8,factor=0.5'");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(LearningRateAt(**job, 1), 0.125F);
  EXPECT_EQ(LearningRateAt(**job, 8), 0.5F);
  EXPECT_EQ(LearningRateAt(**job, 9), 0.25F);
}

TEST(JobTest, RefusesWithFieldValueAndLimit) {
  const std::string model = "model { logistic { inputs: 5 classes: 3 } } ";
  const struct {
    std::string text;
    const char* want;
  } cases[] = {
      {"", "steps: missing or 0; it is required, in [1, 1099511627776]"},
      {"steps: 10", "model: missing; give logistic, mlp, quadratic_saddle or tensors"},
      {model + "steps: 1099511627777", "steps: 1099511627777 is not in [1, 1099511627776]"},
      {kSmall + std::string("name: 'a\\nb'"), "name: only up to 200 characters of printable"},
      {kSmall + std::string("codec: 'random_k:2'"),
       "codec: \"random_k:2\": ratio: 2 is not in (0, 1]"},
      {kSmall + std::string("codec: 'random_k:0'"), "ratio: 0 is not in (0, 1]"},
      {kSmall + std::string("codec: 'zip'"), "codec: "},
      {kSmall + std::string("optimizer: 'sgd:0'"), "optimizer: \"sgd:0\": lr: 0 is not in ["},
      {kSmall + std::string("schedule: 'constant' schedule: 'cosinus'"),
       "schedule[1]: \"cosinus\": no schedule \"cosinus\""},
      {kSmall + std::string("perturbation: 'gaussian:-1'"),
       "perturbation: \"gaussian:-1\": std: -1 is not in ["},
      {kSmall + std::string("consistency: 7"), "consistency: 7 is none of SYNC, QUORUM, ASYNC"},
      {kSmall + std::string("membership { mode: 9 }"),
       "membership.mode: 9 is neither ELASTIC nor FIXED"},
      {kSmall + std::string("membership { workers: 100001 }"),
       "membership.workers: 100001 is not in [1, 100000]"},
      {kSmall + std::string("membership { workers: 3 min_workers: 4 }"),
       "membership.min_workers: 4 is not in [1, 3]"},
      {kSmall + std::string("membership { lease_seconds: 0.05 }"),
       "membership.lease_seconds: 0.05 is not in [0.1, 3600]"},
      {kSmall + std::string("membership { lease_seconds: nan }"), "lease_seconds: nan is not in"},
      {kSmall + std::string("membership { start_timeout_seconds: 1e9 }"),
       "membership.start_timeout_seconds: 1e+09 is not in [0.1, 604800]"},
      {kSmall + std::string("trainer { batch: 16777217 }"),
       "trainer.batch: 16777217 is not in [1, 16777216]"},
      {kSmall + std::string("trainer { eval_every: 1099511627777 }"), "trainer.eval_every: "},
      {kSmall + std::string("snapshot_every: 1099511627777"), "snapshot_every: 1099511627777 is"},
      {kSmall + std::string("hash_every: 1099511627777"), "hash_every: 1099511627777 is not"},
      {kSmall + std::string("log: 'none'"), "log: \"none\" is neither full nor snapshots_only"},
      {kSmall + std::string("log: 'snapshots_only' consistency: ASYNC"),
       "log: snapshots_only does not go with consistency ASYNC"},
      {"model { mlp { inputs: 5 hidden: 3 hidden: 0 classes: 3 } } steps: 1",
       "model.mlp.hidden[1]: 0 is not in [1, 2147483648]"},
      {"model { quadratic_saddle { dimension: 2147483649 } } steps: 1",
       "model.quadratic_saddle.dimension: 2147483649 is not in [1, 2147483648]"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const absl::Status status = Make(c.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST(JobTest, SchemaHashIsOfWhatMustAgreeAndOfNothingElse) {
  const std::string base = std::string(kSmall) + "codec: 'random_k:0.01'";
  const auto hash = [](const std::string& text) {
    const auto job = Make(text);
    EXPECT_TRUE(job.ok()) << job.status();
    return (*job)->schema_hash;
  };
  const uint64_t want = hash(base);
  for (const char* same : {"name: 'other'", "trainer { batch: 5 }", "membership { workers: 4 }",
                           "optimizer: 'sgd:0.1'", "optimizer: 'sgd:momentum=0,lr=1e-1'"}) {
    EXPECT_EQ(hash(base + same), want) << same;
  }
  EXPECT_EQ(hash(std::string(kSmall) + "codec: 'random_k:ratio=1e-2'"), want);
  for (const char* other : {"seed: 2", "optimizer: 'sgd:0.2'"}) {
    EXPECT_NE(hash(base + other), want) << other;
  }
  EXPECT_NE(hash(std::string(kSmall) + "codec: 'random_k:0.02'"), want);
  // The ways of error feedback that all replicas must share.
  for (const char* same : {"error_feedback: 'auto'", "downlink: 'auto'", "downlink: 'aggregate'",
                           "tensors { name: '*' codec: 'random_k:ratio=0.01' }"}) {
    EXPECT_EQ(hash(base + same), want) << same;
  }
  for (const char* other :
       {"error_feedback: 'ef21'", "error_feedback: 'none'", "downlink: 'compressed'",
        "tensors { name: '*.bias' codec: 'identity' }"}) {
    EXPECT_NE(hash(base + other), want) << other;
  }
  const uint64_t averaged = hash(base + "error_feedback: 'ef21_sgdm'");
  EXPECT_EQ(hash(base + "error_feedback: 'ef21_sgdm:beta=1e-1'"), averaged);
  EXPECT_NE(hash(base + "error_feedback: 'ef21_sgdm:0.2'"), averaged);
  const std::string end = "} steps: 10 codec: 'random_k:0.01'";
  EXPECT_NE(hash("model { logistic { inputs: 5 classes: 3 init: 'he_normal' }" + end), want);
  EXPECT_NE(hash("model { logistic { inputs: 3 classes: 5 }" + end), want);
}

TEST(JobTest, WarnsOfAFirstMomentBehindAFewCoordinatesDrawnAtRandom) {
  const struct {
    const char* rest;
    const char* want;  // empty: no warning
  } cases[] = {
      {"codec: 'random_k:0.01' optimizer: 'sgd:0.1,0.9'", "every 100 steps"},
      {"codec: 'random_k:0.01' optimizer: 'adam'", "use plain sgd"},
      {"codec: 'random_k:0.01' optimizer: 'adam:beta1=0'", ""},
      {"codec: 'random_k:0.01' optimizer: 'rmsprop'", ""},
      {"codec: 'random_k:0.01'", ""},
      {"codec: 'random_k:0.1' optimizer: 'sgd:0.1,0.9'", ""},
      {"codec: 'top_k:0.01' optimizer: 'sgd:0.1,0.9'", ""},
      {"tensors { name: '*.bias' codec: 'random_k:0.05' } optimizer: 'sgd:0.1,0.9'",
       "every 20 steps"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.rest);
    const auto job = Make(std::string(kSmall) + c.rest);
    ASSERT_TRUE(job.ok()) << job.status();
    const std::vector<std::string> warnings = JobWarnings(**job);
    ASSERT_EQ(warnings.size(), c.want[0] == '\0' ? 0U : 1U);
    for (const std::string& warning : warnings) {
      EXPECT_THAT(absl::AsciiStrToLower(warning), HasSubstr(c.want));
    }
  }
}

TEST(JobTextTest, BothFormsReadBackWhatWasWritten) {
  const auto job = Make(std::string(kSmall) + "name: 'quoted \"name\"' seed: 18446744073709551615");
  ASSERT_TRUE(job.ok()) << job.status();
  const std::string want = (*job)->config.SerializeAsString();
  const auto text = ParseJobText(JobText((*job)->config));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->SerializeAsString(), want);
  const auto json = ParseJobJson(JobJson((*job)->config));
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(json->SerializeAsString(), want);
}

TEST(JobTextTest, MistakesHaveALineOrAField) {
  const struct {
    const char* text;
    const char* want;
  } texts[] = {
      {"steps: 1\nstepz: 2\n", "line 2, column 6: "},
      {"steps: 1\nstepz: 2\n", "\"stepz\""},
      {"steps: 'ten'", "line 1, column 8: "},
      {"steps: -1", "line 1, column 8: "},
      {"steps: 18446744073709551616", "line 1, column 8: "},
      {"steps: 1 steps: 2", "\"steps\" is specified multiple times"},
      {"model { mlp { inputs: 5", "line 1, column 24: "},
      {"model { mlp {} logistic {} }", "\"logistic\""},
      {"consistency: MAYBE", "\"MAYBE\""},
      {"\x01\xff", "line 1, column 1: "},
  };
  for (const auto& c : texts) {
    SCOPED_TRACE(c.text);
    const absl::Status status = ParseJobText(c.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
  const struct {
    const char* json;
    const char* want;
  } jsons[] = {
      {R"({"steps": 1, "stepz": 2})", "stepz"},
      {R"({"steps": "ten"})", "steps"},
      {R"({"steps": -1})", "steps"},
      {R"({"model": {"mlp": {"inputs": true}}})", "model.mlp"},
      {R"({"steps": 1)", "Expected"},
      {R"([])", ""},
      {"", ""},
  };
  for (const auto& c : jsons) {
    SCOPED_TRACE(c.json);
    const absl::Status status = ParseJobJson(c.json).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST(JobFileTest, EndingChoosesTheForm) {
  const std::string base = testing::TempDir() + "gradwire_job_test";
  const struct {
    const char* ending;
    const char* text;
    const char* error;  // empty: it is read
  } cases[] = {
      {".textproto", kSmall, ""},
      {".json", R"({"steps": 10, "model": {"logistic": {"inputs": 5, "classes": 3}}})", ""},
      {".json", kSmall, "gradwire_job_test.json: "},
      {".textproto", "steps: x", "gradwire_job_test.textproto: line 1, column 8: "},
      {".yaml", kSmall, "gradwire_job_test.yaml: a job file's name ends in .textproto or .json"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.ending);
    ASSERT_TRUE(WriteFileAtomically(base + c.ending, c.text).ok());
    const auto config = ReadJobFile(base + c.ending);
    EXPECT_EQ(config.ok(), c.error[0] == '\0') << config.status();
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(c.error));
    if (!config.ok()) continue;
    EXPECT_EQ(config->model().logistic().inputs(), 5U);
  }
  EXPECT_EQ(ReadJobFile(base + ".none.json").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace gradwire
