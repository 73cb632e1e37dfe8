// SPDX-License-Identifier: Apache-2.0
// Models against PyTorch, finite differences, brute force and closed forms.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/worker/models/golden.h"
#include "tests/worker/models/reference.h"
#include "worker/models/blas.h"
#include "worker/models/model.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

v1::ModelConfig ParseConfig(const std::string& text) {
  v1::ModelConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

std::unique_ptr<Model> Make(const v1::ModelConfig& config) {
  absl::StatusOr<std::unique_ptr<Model>> model = MakeModel(config);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

v1::ModelConfig ClassifierConfig(const std::vector<uint32_t>& widths) {
  v1::ModelConfig config;
  if (widths.size() == 2) {
    config.mutable_logistic()->set_inputs(widths.front());
    config.mutable_logistic()->set_classes(widths.back());
    return config;
  }
  config.mutable_mlp()->set_inputs(widths.front());
  for (size_t i = 1; i + 1 < widths.size(); ++i) config.mutable_mlp()->add_hidden(widths[i]);
  config.mutable_mlp()->set_classes(widths.back());
  return config;
}

Dataset MakeData(size_t features, std::vector<float> values, std::vector<uint32_t> labels) {
  Dataset data;
  data.rows = labels.size();
  data.features = features;
  data.classes = 1 + *std::max_element(labels.begin(), labels.end());
  data.values = std::move(values);
  data.labels = std::move(labels);
  return data;
}

std::vector<float> RandomValues(size_t n, float scale, std::mt19937* random) {
  std::vector<float> values(n);
  for (float& value : values) {
    value = scale * (static_cast<float>((*random)() % 20001) / 10000.0f - 1.0f);
  }
  return values;
}

Dataset RandomData(size_t rows, size_t features, uint32_t classes, std::mt19937* random) {
  std::vector<uint32_t> labels(rows);
  for (uint32_t& label : labels) label = static_cast<uint32_t>((*random)() % classes);
  return MakeData(features, RandomValues(rows * features, 1, random), std::move(labels));
}

std::vector<uint32_t> AllRows(const Dataset& data) {
  std::vector<uint32_t> rows(data.rows);
  std::iota(rows.begin(), rows.end(), 0u);
  return rows;
}

double Metric(const v1::Evaluation& evaluation, const std::string& name) {
  for (const v1::Metric& metric : evaluation.metrics()) {
    if (metric.name() == name) return metric.value();
  }
  ADD_FAILURE() << "no metric " << name;
  return 0;
}

TEST(ModelsTest, LossGradientAndAccuracyAreThoseOfPyTorch) {
  for (const GoldenModel& golden : GoldenModels()) {
    SCOPED_TRACE(golden.name);
    const auto model = Make(ClassifierConfig(golden.widths));
    ASSERT_EQ(model->dimension(), golden.parameters.size());
    const Dataset data = MakeData(golden.widths.front(), golden.inputs, golden.labels);
    ASSERT_TRUE(model->CheckData(data).ok());
    std::vector<float> gradient(golden.gradient.size(), 7.0f);  // to be overwritten
    EXPECT_NEAR(
        model->LossAndGradient(golden.parameters, data, AllRows(data), absl::MakeSpan(gradient)),
        golden.loss, 1e-6);
    for (size_t i = 0; i < gradient.size(); ++i) {
      EXPECT_NEAR(gradient[i], golden.gradient[i], 1e-6) << i;
    }
    const v1::Evaluation evaluation = model->Evaluate(golden.parameters, data);
    EXPECT_NEAR(evaluation.loss(), golden.loss, 1e-6);
    EXPECT_EQ(Metric(evaluation, "accuracy"), golden.accuracy);
  }
}

TEST(ModelsTest, GradientIsTheSlopeOfTheLossOverTheRowsNamed) {
  std::mt19937 random(2);
  for (const std::vector<uint32_t>& widths :
       {std::vector<uint32_t>{6, 4}, {30, 20, 16, 10}, {3, 2, 2}, {1, 1, 1, 2}}) {
    SCOPED_TRACE(testing::PrintToString(widths));
    const Dataset data = RandomData(40, widths.front(), widths.back(), &random);
    const std::vector<uint32_t> rows = {3, 39, 3, 0, 17, 21, 8};  // one of them twice
    const auto model = Make(ClassifierConfig(widths));
    const std::vector<float> parameters = RandomValues(model->dimension(), 0.5f, &random);
    std::vector<float> gradient(parameters.size());
    const double loss = model->LossAndGradient(parameters, data, rows, absl::MakeSpan(gradient));
    const ReferenceClassifier reference(widths);
    std::vector<double> point(parameters.begin(), parameters.end());
    EXPECT_NEAR(loss, reference.Loss(point, data, rows), 1e-6);
    for (size_t i = 0; i < point.size(); ++i) {
      EXPECT_NEAR(gradient[i], reference.Slope(point, data, rows, i), 2e-6) << i;
    }
  }
}

TEST(ModelsTest, AccuracyAndLossAreTheBruteForceOnes) {
  std::mt19937 random(3);
  const std::vector<uint32_t> widths = {8, 12, 5};
  // Around the number of rows that are evaluated at a time.
  for (const size_t rows : {1, 499, 500, 501, 1234}) {
    SCOPED_TRACE(rows);
    const Dataset data = RandomData(rows, widths.front(), widths.back(), &random);
    const auto model = Make(ClassifierConfig(widths));
    const std::vector<float> parameters = RandomValues(model->dimension(), 1, &random);
    const std::vector<double> point(parameters.begin(), parameters.end());
    const ReferenceClassifier reference(widths);
    const v1::Evaluation evaluation = model->Evaluate(parameters, data);
    EXPECT_EQ(Metric(evaluation, "accuracy"), reference.Accuracy(point, data));
    EXPECT_NEAR(evaluation.loss(), reference.Loss(point, data, AllRows(data)), 1e-6);
  }
}

TEST(ModelsTest, TheSameStepGivesTheSameBitsWhateverCameBetween) {
  std::mt19937 random(4);
  const std::vector<uint32_t> widths = {30, 20, 10};
  const Dataset data = RandomData(600, widths.front(), widths.back(), &random);
  const auto model = Make(ClassifierConfig(widths));
  const std::vector<float> parameters = RandomValues(model->dimension(), 0.5f, &random);
  const std::vector<uint32_t> rows = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<float> first(parameters.size()), again(parameters.size());
  const double loss = model->LossAndGradient(parameters, data, rows, absl::MakeSpan(first));
  model->Evaluate(parameters, data);
  EXPECT_EQ(model->LossAndGradient(parameters, data, rows, absl::MakeSpan(again)), loss);
  EXPECT_EQ(first, again);
}

TEST(ModelsTest, LargeLogitsDoNotOverflowAndNanComesBack) {
  const auto model = Make(ParseConfig("mlp { inputs: 2 hidden: 2 classes: 2 }"));
  const Dataset data = MakeData(2, {1, 1}, {0});
  const uint32_t row = 0;
  std::vector<float> gradient(model->dimension());
  // Hidden values 1000 and 0, logits 1e6 and 0.
  std::vector<float> parameters = {500, 500, 0, 0, 0, 0, 1000, 0, 0, 0, 0, 0};
  EXPECT_EQ(model->LossAndGradient(parameters, data, {&row, 1}, absl::MakeSpan(gradient)), 0);
  EXPECT_THAT(gradient, testing::Each(0.0f));
  const Dataset wrong = MakeData(2, {1, 1}, {1});
  EXPECT_EQ(model->LossAndGradient(parameters, wrong, {&row, 1}, absl::MakeSpan(gradient)), 1e6);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (size_t i : {0, 5, 6, 11}) {
      std::vector<float> broken = parameters;
      broken[i] = bad;
      const double loss =
          model->LossAndGradient(broken, wrong, {&row, 1}, absl::MakeSpan(gradient));
      const v1::Evaluation evaluation = model->Evaluate(broken, wrong);
      if (std::isnan(bad)) {
        EXPECT_TRUE(std::isnan(loss)) << i;
        EXPECT_TRUE(std::isnan(evaluation.loss())) << i;
      }
      EXPECT_LE(Metric(evaluation, "accuracy"), 1) << i;
    }
  }
}

TEST(ModelsTest, DataThatDoNotFitAreRefusedByName) {
  const auto model = Make(ParseConfig("logistic { inputs: 2 classes: 3 }"));
  const struct {
    const char* name;
    Dataset data;
    const char* want;  // empty: accepted
  } cases[] = {
      {"fits", MakeData(2, {1, 2}, {2}), ""},
      {"fewer classes", MakeData(2, {1, 2}, {0}), ""},
      {"features", MakeData(3, {1, 2, 3}, {2}), "3 features a sample, the model takes 2"},
      {"label", MakeData(2, {1, 2}, {3}), "label 3, the model knows labels 0 to 2"},
      {"nothing", Dataset{.features = 2, .values = {}, .labels = {}}, "no samples"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const absl::Status status = model->CheckData(c.data);
    EXPECT_EQ(status.ok(), *c.want == '\0');
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST(ModelsTest, ConfigurationsThatAreNoModelAreRefusedByField) {
  const struct {
    const char* config;
    const char* want;
  } cases[] = {
      {"", "model: not set"},
      {"tensors {}", "model.tensors"},
      {"logistic { classes: 2 }", "model.logistic.inputs: 0"},
      {"logistic { inputs: 2 classes: 1 }", "model.logistic.classes: 1"},
      {"mlp { inputs: 2 hidden: 3 hidden: 0 classes: 2 }", "model.mlp.hidden[1]: 0"},
      {"mlp { inputs: 4294967295 hidden: 4294967295 classes: 2 }", "more than 2147483648"},
      {"quadratic_saddle {}", "dimension: 0"},
      {"quadratic_saddle { dimension: 2147483649 }", "dimension: 2147483649"},
      {"quadratic_saddle { dimension: 2 negative: 3 }", "negative: 3; at most the dimension, 2"},
      {"quadratic_saddle { dimension: 2 gamma: -1 }", "gamma: -1"},
      {"quadratic_saddle { dimension: 2 curvature: nan }", "curvature: nan"},
      {"quadratic_saddle { dimension: 2 wall: inf }", "wall: inf"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.config);
    const absl::Status status = MakeModel(ParseConfig(c.config)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

struct SaddleCase {
  const char* config;
  std::vector<float> x;
  double loss;
  std::vector<float> gradient;
  double distance;
  double mean;
};

TEST(ModelsTest, QuadraticSaddleIsItsClosedForm) {
  const SaddleCase cases[] = {
      {"dimension: 3", {0, 0, 0}, 0, {0, 0, 0}, 0, 0},
      {"dimension: 3", {2, 3, 0}, 2.5, {-2, 3, 0}, 2, 2},
      {"dimension: 3 negative: 2 gamma: 0.5 curvature: 4", {3, 4, 1}, -4.25, {-1.5, -2, 4}, 5, 3.5},
      // |x|² = 25: 1/2 (-9 + 16) + 2/4 * 625; gradient (-1 + 50) 3 and (1 + 50) 4.
      {"dimension: 2 wall: 2", {3, 4}, 316, {147, 204}, 3, 3},
      // Minimum at sqrt(gamma / wall) = 2 of depth -gamma² / (4 wall) (algorithms.md 6.1).
      {"dimension: 2 gamma: 2 wall: 0.5", {-2, 0}, -2, {0, 0}, 2, -2},
  };
  for (const SaddleCase& c : cases) {
    SCOPED_TRACE(c.config);
    const auto model = Make(ParseConfig(absl::StrCat("quadratic_saddle { ", c.config, " }")));
    EXPECT_FALSE(model->needs_data());
    EXPECT_EQ(model->dimension(), c.x.size());
    std::vector<float> gradient(c.x.size(), 7.0f);
    EXPECT_EQ(model->LossAndGradient(c.x, {}, {}, absl::MakeSpan(gradient)), c.loss);
    EXPECT_EQ(gradient, c.gradient);
    const v1::Evaluation evaluation = model->Evaluate(c.x, {});
    EXPECT_EQ(evaluation.loss(), c.loss);
    EXPECT_EQ(Metric(evaluation, "distance"), c.distance);
    EXPECT_EQ(Metric(evaluation, "mean"), c.mean);
  }
}

TEST(ModelsTest, GradientDescentLeavesTheSaddleAtTheRateOfItsCurvature) {
  const auto model = Make(ParseConfig("quadratic_saddle { dimension: 2 gamma: 0.5 }"));
  std::vector<float> x = {1e-6f, 1}, gradient(2);
  for (int step = 0; step < 100; ++step) {
    model->LossAndGradient(x, {}, {}, absl::MakeSpan(gradient));
    for (size_t i = 0; i < 2; ++i) x[i] -= 0.1f * gradient[i];
  }
  EXPECT_NEAR(x[0] / (1e-6 * std::pow(1.05, 100)), 1, 1e-4);
  EXPECT_NEAR(x[1] / std::pow(0.9, 100), 1, 1e-4);
}

TEST(ModelsTest, BlasNamesItsCore) { EXPECT_FALSE(BlasCoreName().empty()); }

}  // namespace
}  // namespace gradwire
