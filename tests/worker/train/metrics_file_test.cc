// SPDX-License-Identifier: Apache-2.0
// The file of --metrics: its lines, when they are there, and what fails.
#include "worker/train/metrics_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>

namespace gradwire {
namespace {

using testing::HasSubstr;

std::string Read(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(MetricsFileTest, EveryStepIsALineThatCanBeReadAtOnce) {
  const std::string path = testing::TempDir() + "/metrics.jsonl";
  std::ofstream(path) << "what an earlier run left\n";
  const auto file = MetricsFile::Create(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->Write(1, 0.5, nullptr).ok());
  EXPECT_EQ(Read(path), "{\"step\":1,\"loss\":0.5}\n");
  v1::Evaluation evaluation;
  evaluation.add_metrics()->set_name("accuracy");
  evaluation.mutable_metrics(0)->set_value(0.75);
  evaluation.add_metrics()->set_name("a\"\xff");
  EXPECT_TRUE((*file)->Write(2, std::nan(""), &evaluation).ok());
  EXPECT_TRUE((*file)->Close().ok());
  EXPECT_EQ(
      Read(path),
      "{\"step\":1,\"loss\":0.5}\n"
      "{\"step\":2,\"loss\":null,\"metrics\":{\"accuracy\":0.75,\"a\\\"\xef\xbf\xbd\":0.0}}\n");
}

TEST(MetricsFileTest, ErrorsNameThePath) {
  const std::string missing = testing::TempDir() + "/missing/metrics.jsonl";
  const absl::Status not_there = MetricsFile::Create(missing).status();
  EXPECT_EQ(not_there.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(not_there.message()), HasSubstr(missing));
  const auto full = MetricsFile::Create("/dev/full");
  ASSERT_TRUE(full.ok()) << full.status();
  const absl::Status status = (*full)->Write(1, 0.5, nullptr);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/dev/full"));
}

}  // namespace
}  // namespace gradwire
