// SPDX-License-Identifier: Apache-2.0
// The trainer: a job's steps and evaluations, and jobs that do not fit their data.
#include "worker/train/trainer.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/worker/data/files.h"
#include "worker/data/batches.h"
#include "worker/data/load.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

std::shared_ptr<const Job> MakeTestJob(const std::string& text) {
  v1::JobConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString("steps: 10 " + text, &config)) << text;
  absl::StatusOr<std::shared_ptr<const Job>> job = MakeJob(config);
  EXPECT_TRUE(job.ok()) << job.status();
  return job.ok() ? *job : nullptr;
}

// Two features, three classes, six and two samples.
std::string MakeLibsvm() {
  const std::string folder = MakeFolder("trainer");
  WriteFile(folder + "/train", "0 1:1\n1 2:1\n2 1:1 2:1\n0 1:2\n1 2:2\n2 1:2 2:2\n");
  WriteFile(folder + "/test", "0 1:3\n1 2:3\n");
  return "libsvm:" + folder + "/train," + folder + "/test";
}

TEST(TrainerTest, AStepIsTheModelOnTheBatchOfItsRank) {
  const auto job = MakeTestJob(
      "seed: 5 model { logistic { inputs: 2 classes: 3 } } trainer { batch: 7 } "
      "membership { workers: 2 }");
  const std::string source = MakeLibsvm();
  const auto trainer = Trainer::Create(job, source);
  ASSERT_TRUE(trainer.ok()) << trainer.status();
  const auto model = MakeModel(job->config.model());
  const auto data = LoadData(source);
  const std::vector<float> parameters = {1, 0, 0, 1, -1, 0.5f, 0, 0, 0.25f};
  std::vector<float> gradient(9), want(9), first(9);
  for (const uint32_t rank : {0, 1, 2}) {
    for (const uint64_t step : {1, 2, 3}) {
      std::vector<uint32_t> rows;
      FillBatch(5, step, rank, /*shards=*/2, /*rows=*/6, /*batch=*/7, &rows);
      const double loss =
          (*model)->LossAndGradient(parameters, data->train, rows, absl::MakeSpan(want));
      const StepResult result = (*trainer)->Step(step, rank, parameters, absl::MakeSpan(gradient));
      EXPECT_EQ(result.loss, loss);
      EXPECT_EQ(result.samples, 7);
      EXPECT_EQ(gradient, want);
      if (rank == 0 && step == 1) first = gradient;
    }
  }
  (*trainer)->Step(1, 0, parameters, absl::MakeSpan(gradient));  // again
  EXPECT_EQ(gradient, first);
}

TEST(TrainerTest, EvaluationIsOfTheTestSetAndNamesItsVersion) {
  const auto trainer =
      Trainer::Create(MakeTestJob("model { logistic { inputs: 2 classes: 3 } }"), MakeLibsvm());
  ASSERT_TRUE(trainer.ok()) << trainer.status();
  // Right for label 0, wrong for label 1: logits (3, -3, 0) and (0, 0, 0).
  const v1::Evaluation evaluation = (*trainer)->Evaluate(12, {1, 0, -1, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(evaluation.version(), 12);
  ASSERT_EQ(evaluation.metrics_size(), 1);
  EXPECT_EQ(evaluation.metrics(0).name(), "accuracy");
  EXPECT_EQ(evaluation.metrics(0).value(), 0.5);
  const double first = std::log(1 + std::exp(-6) + std::exp(-3));
  EXPECT_NEAR(evaluation.loss(), (first + std::log(3)) / 2, 1e-6);
}

TEST(TrainerTest, TheSaddleNeedsNoData) {
  const auto trainer =
      Trainer::Create(MakeTestJob("model { quadratic_saddle { dimension: 2 } }"), "");
  ASSERT_TRUE(trainer.ok()) << trainer.status();
  std::vector<float> gradient(2);
  const StepResult result = (*trainer)->Step(1, 0, {2, 3}, absl::MakeSpan(gradient));
  EXPECT_EQ(result.loss, 2.5);
  EXPECT_EQ(result.samples, 1);
  EXPECT_THAT(gradient, testing::ElementsAre(-2, 3));
  EXPECT_EQ((*trainer)->Evaluate(3, {2, 3}).metrics(0).value(), 2);
}

TEST(TrainerTest, JobsThatDoNotFitTheirDataAreRefused) {
  const std::string source = MakeLibsvm();
  const struct {
    const char* job;
    std::string source;
    const char* want;
  } cases[] = {
      {"model { logistic { inputs: 2 classes: 3 } }", "", "--data"},
      {"model { logistic { inputs: 2 classes: 3 } }", "/missing", "/missing"},
      {"model { logistic { inputs: 3 classes: 3 } }", source, "training data of libsvm:"},
      {"model { logistic { inputs: 2 classes: 2 } }", source, "set `classes` to 3"},
      {"model { logistic { inputs: 2 classes: 3 } } membership { workers: 7 }", source,
       "6 samples for 7 workers"},
      {"model { tensors { tensor { name: 'w' shape: 1 } } }", source, "model.tensors"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.want);
    const absl::Status status = Trainer::Create(MakeTestJob(c.job), c.source).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST(TrainerTest, PlainSgdLearnsFashionMnist) {
  if (!std::filesystem::exists(kFashionMnist)) GTEST_SKIP() << "no package dataset-fashion-mnist";
  const auto job =
      MakeTestJob("model { mlp { inputs: 784 hidden: 64 classes: 10 } } membership { workers: 4 }");
  const auto trainer = Trainer::Create(job, kFashionMnist);
  ASSERT_TRUE(trainer.ok()) << trainer.status();
  std::vector<float> parameters(job->layout.dimension()), gradient(job->layout.dimension());
  job->layout.Initialize(job->config.seed(), absl::MakeSpan(parameters));
  const double before = (*trainer)->Evaluate(0, parameters).metrics(0).value();
  EXPECT_NEAR(before, 0.1, 0.1);
  for (uint64_t step = 1; step <= 400; ++step) {
    (*trainer)->Step(step, static_cast<uint32_t>(step % 4), parameters, absl::MakeSpan(gradient));
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i] -= 0.1f * gradient[i];
  }
  EXPECT_GT((*trainer)->Evaluate(400, parameters).metrics(0).value(), 0.78);
}

}  // namespace
}  // namespace gradwire
