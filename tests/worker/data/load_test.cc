// SPDX-License-Identifier: Apache-2.0
// Data sources: folders of IDX files, LIBSVM pairs, and Debian's Fashion-MNIST.
#include "worker/data/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/worker/data/files.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

std::string MakeIdxFolder(const std::string& name, uint32_t test_width) {
  const std::string folder = MakeFolder(name);
  WriteFile(folder + "/train-images-idx3-ubyte", MakeIdx({2, 1, 2}, "abcd"));
  WriteFile(folder + "/train-labels-idx1-ubyte.gz", Gzip(MakeIdx({2}, std::string("\1\0", 2))));
  WriteFile(folder + "/t10k-images-idx3-ubyte.gz",
            Gzip(MakeIdx({1, 1, test_width}, std::string(test_width, 'x'))));
  WriteFile(folder + "/t10k-labels-idx1-ubyte", MakeIdx({1}, std::string("\1", 1)));
  return folder;
}

TEST(LoadTest, FolderMayMixPlainAndGzippedFiles) {
  const absl::StatusOr<DataPair> data = LoadData(MakeIdxFolder("mixed", 2));
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.rows, 2);
  EXPECT_EQ(data->test.rows, 1);
  EXPECT_EQ(data->test.features, 2);
}

TEST(LoadTest, LibsvmNamesTwoFiles) {
  const std::string folder = MakeFolder("libsvm");
  WriteFile(folder + "/a", "1 2:1\n");
  WriteFile(folder + "/b", "0 1:1\n");
  const absl::StatusOr<DataPair> data = LoadData("libsvm:" + folder + "/a," + folder + "/b");
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.features, 2);
  EXPECT_EQ(data->test.labels[0], 0);
}

TEST(LoadTest, WhatCannotBeReadIsNamed) {
  const std::string empty = MakeFolder("empty");
  const std::string other = MakeIdxFolder("other_width", 3);
  WriteFile(empty + "/bad", "x\n");
  const struct {
    std::string source;
    absl::StatusCode code;
    std::string want;
  } cases[] = {
      {empty, absl::StatusCode::kNotFound, "neither train-images-idx3-ubyte nor"},
      {empty + "/missing", absl::StatusCode::kNotFound, "dataset-fashion-mnist"},
      {other, absl::StatusCode::kInvalidArgument, "2 pixels an image, but"},
      {"libsvm:a", absl::StatusCode::kInvalidArgument, "expected libsvm:TRAIN,TEST"},
      {"libsvm:a,", absl::StatusCode::kInvalidArgument, "expected libsvm:TRAIN,TEST"},
      {"libsvm:a,b,c", absl::StatusCode::kInvalidArgument, "expected libsvm:TRAIN,TEST"},
      {"libsvm:" + empty + "/no,b", absl::StatusCode::kNotFound, empty + "/no: not there"},
      {"libsvm:" + empty + "/bad," + empty + "/bad", absl::StatusCode::kInvalidArgument,
       empty + "/bad:1: label \"x\""},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.source);
    const absl::Status status = LoadData(c.source).status();
    EXPECT_EQ(status.code(), c.code);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST(LoadTest, FashionMnistIsWhole) {
  if (!std::filesystem::exists(kFashionMnist)) GTEST_SKIP() << "no package dataset-fashion-mnist";
  const absl::StatusOr<DataPair> data = LoadData(kFashionMnist);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.rows, 60000);
  EXPECT_EQ(data->test.rows, 10000);
  for (const Dataset* set : {&data->train, &data->test}) {
    EXPECT_EQ(set->features, 784);
    EXPECT_EQ(set->classes, 10);
    EXPECT_EQ(set->labels[0], 9);  // an ankle boot begins both
    for (uint32_t label = 0; label < 10; ++label) {
      EXPECT_EQ(std::count(set->labels.begin(), set->labels.end(), label), set->rows / 10);
    }
  }
  // The mean pixel that everybody normalises Fashion-MNIST with.
  const double sum = std::accumulate(data->train.values.begin(), data->train.values.end(), 0.0);
  EXPECT_NEAR(sum / static_cast<double>(data->train.values.size()), 0.2860, 5e-5);
}

}  // namespace
}  // namespace gradwire
