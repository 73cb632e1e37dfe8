// SPDX-License-Identifier: Apache-2.0
// The optimizers that PyTorch has go where PyTorch's go: 200 steps of ordinary and of nasty
// gradients, every option, the learning rate changed half-way.  What torch does is asked
// at each run of the test, and is kept in tests/golden for comparison; see torch_golden.py.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/common/optimizer/training.h"

namespace gradwire {
namespace {

// Relative to a coordinate and its way so far, see PathDifference.
constexpr double kTolerance = 1e-6;

struct Row {
  std::string gradients;
  std::string spec;
  uint64_t step = 0;
  std::vector<float> parameters = std::vector<float>(kTrainingSize);
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

std::vector<Row> GoldenRows(const std::string& name) {
  std::ifstream file(GRADWIRE_TEST_DATA "/golden/optimizer/" + name + ".txt");
  return ReadRows(file);
}

// What torch does now; none when it did not run.
std::vector<Row> TorchRows(const std::string& name) {
  const std::string command =
      "/usr/bin/python3 " GRADWIRE_TEST_DATA "/common/optimizer/torch_golden.py " + name;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return {};
  std::string text;
  char buffer[4096];
  for (size_t got = 0; (got = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    text.append(buffer, got);
  }
  const int status = ::pclose(pipe);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return {};
  std::istringstream in(text);
  return ReadRows(in);
}

// Five rows a run: as many runs as there are gradients and combinations of options.
void ExpectOurPath(const std::vector<Row>& rows) {
  std::unique_ptr<GoldenRun> ours;
  std::unique_ptr<PathDifference> difference;
  for (const Row& row : rows) {
    if (row.step == 1) {
      ours = std::make_unique<GoldenRun>(row.gradients, row.spec);
      difference = std::make_unique<PathDifference>(ours->first_parameters());
    }
    ASSERT_NE(ours, nullptr) << "the first row is not of step 1";
    while (ours->step() < row.step) ours->Step();
    EXPECT_LE(difference->Between(ours->parameters(), row.parameters), kTolerance)
        << row.gradients << " " << row.spec << " step " << row.step;
  }
}

class TorchTest : public testing::TestWithParam<std::pair<const char*, size_t>> {};

TEST_P(TorchTest, GoesWhereTorchGoes) {
  const auto& [name, combinations] = GetParam();
  const std::vector<Row> rows = TorchRows(name);
  ASSERT_EQ(rows.size(), 5 * 5 * combinations)  // 5 gradients, 5 steps
      << "did /usr/bin/python3 find torch?  It is in deploy/packages: python3-torch";
  ExpectOurPath(rows);
}

TEST_P(TorchTest, GoesWhereTorchWentBefore) {
  const auto& [name, combinations] = GetParam();
  const std::vector<Row> rows = GoldenRows(name);
  ASSERT_EQ(rows.size(), 5 * 5 * combinations);
  ExpectOurPath(rows);
}

INSTANTIATE_TEST_SUITE_P(All, TorchTest,
                         testing::Values(std::pair("sgd", 10), std::pair("adagrad", 9),
                                         std::pair("rmsprop", 9), std::pair("adadelta", 4),
                                         std::pair("adam", 8), std::pair("adamw", 8)),
                         [](const auto& info) { return std::string(info.param.first); });

// A golden run reaches every branch only if its specs name every option.
TEST(TorchTest, EveryOptionIsCompared) {
  for (const char* name : {"sgd", "adagrad", "rmsprop", "adadelta", "adam", "adamw"}) {
    std::string specs;
    for (const Row& row : GoldenRows(name)) specs += row.spec + ",";
    for (const OptimizerEntry& entry : OptimizerRegistry()) {
      if (std::string(entry.name) != name) continue;
      for (const SpecParameter& parameter : entry.parameters()) {
        EXPECT_NE(specs.find(parameter.name + "="), std::string::npos) << name << parameter.name;
      }
    }
  }
}

}  // namespace
}  // namespace gradwire
