// SPDX-License-Identifier: Apache-2.0
// LIBSVM files: what is read, and that everything else is refused with its line.
#include "worker/data/libsvm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gradwire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

absl::StatusOr<DataPair> Parse(absl::string_view train, absl::string_view test) {
  return ParseLibsvm({"train", train}, {"test", test}, /*max_values=*/1000);
}

TEST(LibsvmTest, SparseLinesBecomeDenseRows) {
  const absl::StatusOr<DataPair> data = Parse(
      "+1 1:0.5 4:-2e-1\n"
      "\n"
      "  -1\t2:1 # 3:7\r\n"
      "# a comment alone\n"
      "-1",
      "1 3:3\n");
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.rows, 3);
  EXPECT_EQ(data->train.features, 4);
  EXPECT_EQ(data->train.classes, 2);
  EXPECT_THAT(data->train.labels, ElementsAre(1, 0, 0));
  EXPECT_THAT(data->train.values, ElementsAre(0.5f, 0, 0, -0.2f, 0, 1, 0, 0, 0, 0, 0, 0));
  // As wide as the training data, and with labels that mean the same.
  EXPECT_EQ(data->test.features, 4);
  EXPECT_THAT(data->test.values, ElementsAre(0, 0, 3, 0));
  EXPECT_THAT(data->test.labels, ElementsAre(1));
}

TEST(LibsvmTest, LabelsMeanTheSameInBothFiles) {
  const struct {
    const char* train;
    const char* test;
    std::vector<uint32_t> want_train, want_test;
  } cases[] = {
      {"0 1:1\n2 1:1\n9.0 1:1", "1 1:1", {0, 2, 9}, {1}},
      {"+1 1:1\n1 1:1", "-1 1:1", {1, 1}, {0}},
      {"-1 1:1\n+1 1:1", "-1.0 1:1", {0, 1}, {0}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.train);
    const absl::StatusOr<DataPair> data = Parse(c.train, c.test);
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_EQ(data->train.labels, c.want_train);
    EXPECT_EQ(data->test.labels, c.want_test);
  }
}

TEST(LibsvmTest, WhatIsMalformedIsRefusedWithItsLine) {
  const char* const good = "1 1:1 2:2\n";
  const struct {
    const char* train;
    const char* test;
    const char* want;
  } cases[] = {
      {"", good, "train: no samples"},
      {good, "# nothing\n", "test: no samples"},
      {"1\n0\n", good, "train: no sample has a feature"},
      {"1 1:1\nx 1:1", good, "train:2: label \"x\""},
      {"0.5 1:1", good, "train:1: label \"0.5\""},
      {"-2 1:1", good, "train:1: label \"-2\""},
      {"nan 1:1", good, "train:1: label \"nan\""},
      {"4294967296 1:1", good, "train:1: label \"4294967296\""},
      {"1 0:1", good, "expected index:value with an index from 1"},
      {"1 -1:1", good, "\"-1:1\""},
      {"1 qid:3 1:1", good, "\"qid:3\""},
      {"1 4294967296:1", good, "\"4294967296:1\""},
      {"1 1", good, "train:1: \"1\""},
      {"1 1:", good, "the value is not a finite number"},
      {"1 1:nan", good, "the value is not a finite number"},
      {"1 1:1e39", good, "the value is not a finite number"},
      {"1 1:2:3", good, "the value is not a finite number"},
      {"1 2:1 2:1", good, "train:1: index 2 behind index 2"},
      {"1 1:1 3:1 2:1", good, "train:1: index 2 behind index 3"},
      {good, "\n1 1:1 3:1", "test:2: index 3, but train has only 2 features"},
      {"-1 1:1\n\n0 1:1", "-1 1:1", "train:3: label 0 beside labels -1"},
      {"1 1:1\n2 1:1", "-1 1:1", "train:2: label 2 beside labels -1"},
      {"1 4294967295:1", good, "train: 1 samples of 4294967295 features"},
      {"1 501:1\n1 1:1", "1 1:1", "train: 2 samples of 501 features"},
      {"1 500:1", "1 1:1\n1 1:1\n1 1:1", "test: 3 samples of 500 features"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.want);
    const absl::Status status = Parse(c.train, c.test).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST(LibsvmTest, LongGarbageIsQuotedInPart) {
  const absl::Status status = Parse("1 " + std::string(100000, 'x'), "1 1:1").status();
  EXPECT_LT(status.message().size(), 200);
}

}  // namespace
}  // namespace gradwire
