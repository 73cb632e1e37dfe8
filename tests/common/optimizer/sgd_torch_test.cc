// SPDX-License-Identifier: Apache-2.0
// sgd goes where torch.optim.SGD goes: 200 steps of ordinary and of nasty gradients, every
// combination of options, the learning rate changed half-way.  The rows were
// written by sgd_golden.py next to this file.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "common/optimizer/registry.h"

namespace gradwire {
namespace {

constexpr size_t kSize = 8;
constexpr uint64_t kChange = 100;

struct Row {
  std::string gradients;
  std::string spec;
  uint64_t step = 0;
  std::vector<float> parameters = std::vector<float>(kSize);
};

std::vector<Row> ReadRows(std::istream& in) {
  std::vector<Row> rows;
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    Row row;
    fields >> row.gradients >> row.spec >> row.step;
    for (float& value : row.parameters) fields >> value;
    EXPECT_FALSE(fields.fail()) << line;
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<Row> GoldenRows() {
  std::ifstream file(GRADWIRE_TEST_DATA "/golden/optimizer/sgd.txt");
  return ReadRows(file);
}

// The numbers and gradients of sgd_golden.py.
class Gradients {
 public:
  float Next() {
    state_ = state_ * 1664525U + 1013904223U;
    return (static_cast<float>((state_ >> 9) % 2001) - 1000.0F) / 512.0F;
  }

  BlockValues Make(const std::string& kind, uint64_t step) {
    BlockValues gradient = {.dense = true, .indices = {}, .values = std::vector<float>(kSize)};
    for (float& value : gradient.values) value = Next();
    if (kind == "zeros" && step != 1) gradient.values.assign(kSize, 0.0F);
    if (kind == "huge" && step == 50) {
      for (float& value : gradient.values) value *= 0x1p40F;
    }
    if (kind == "alternating") {
      for (size_t i = 0; i < kSize; ++i) gradient.values[i] = (step + i) % 2 != 0 ? 1.5F : -1.5F;
    }
    if (kind == "sparse") {
      const auto index = static_cast<uint32_t>(step % kSize);
      return {.dense = false, .indices = {index}, .values = {gradient.values[index]}};
    }
    return gradient;
  }

 private:
  uint32_t state_ = 12345;
};

// One run of the optimizer, as a replica would drive it.
class Training {
 public:
  Training(const std::string& gradients, const std::string& spec) : kind_(gradients) {
    for (float& value : parameters_) value = gradients_.Next();
    auto made = MakeOptimizer(spec);
    EXPECT_TRUE(made.ok()) << made.status();
    optimizer_ = *std::move(made);
    state_.assign(optimizer_->state_names().size(), std::vector<float>(kSize));
  }

  const std::vector<float>& AdvanceTo(uint64_t step) {
    while (step_ < step) Step();
    return parameters_;
  }

 private:
  void Step() {
    const float rate = step_ < kChange ? 0.1F : 0.01F;
    BlockValues update = gradients_.Make(kind_, step_ + 1);
    if (optimizer_->units() == Units::kUpdate) {
      for (float& value : update.values) value *= rate;
    }
    std::vector<absl::Span<float>> state;
    for (std::vector<float>& values : state_) state.push_back(absl::MakeSpan(values));
    optimizer_->Apply({.learning_rate = rate, .applied = step_}, update,
                      absl::MakeSpan(parameters_), state);
    ++step_;
  }

  const std::string kind_;
  Gradients gradients_;
  std::unique_ptr<Optimizer> optimizer_;
  std::vector<float> parameters_ = std::vector<float>(kSize);
  std::vector<std::vector<float>> state_;
  uint64_t step_ = 0;
};

// Of the largest parameter: single ones pass through zero.
double RelativeDifference(const std::vector<float>& got, const std::vector<float>& want) {
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference = std::max(difference, std::fabs(double{got[i]} - double{want[i]}));
    size = std::max(size, std::fabs(double{want[i]}));
  }
  return difference / size;
}

TEST(SgdTorchTest, GoesWhereTorchGoes) {
  const std::vector<Row> rows = GoldenRows();
  ASSERT_EQ(rows.size(), 250U);  // 5 gradients, 10 combinations, 5 steps
  std::unique_ptr<Training> training;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    if (row.step == 1) training = std::make_unique<Training>(row.gradients, row.spec);
    EXPECT_LE(RelativeDifference(training->AdvanceTo(row.step), row.parameters), 1e-6)
        << row.gradients << " " << row.spec << " step " << row.step;
  }
}

// Whether the golden file still is what this machine's torch does.
TEST(SgdTorchTest, GoldenFileIsWhatTorchWrites) {
  FILE* pipe = ::popen(
      "/usr/bin/python3 " GRADWIRE_TEST_DATA "/common/optimizer/sgd_golden.py 2>/dev/null", "r");
  ASSERT_NE(pipe, nullptr);
  std::string text;
  char buffer[4096];
  for (size_t got = 0; (got = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    text.append(buffer, got);
  }
  const int status = ::pclose(pipe);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) GTEST_SKIP() << "no python3 with torch here";
  std::istringstream in(text);
  const std::vector<Row> rows = ReadRows(in);
  const std::vector<Row> golden = GoldenRows();
  ASSERT_EQ(rows.size(), golden.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].spec, golden[i].spec);
    EXPECT_LE(RelativeDifference(rows[i].parameters, golden[i].parameters), 1e-6) << i;
  }
}

}  // namespace
}  // namespace gradwire
