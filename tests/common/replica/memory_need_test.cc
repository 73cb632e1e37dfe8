// SPDX-License-Identifier: Apache-2.0
// The sum of what a job needs against closed forms; the limit against control groups made by hand.
#include "common/replica/memory_need.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

constexpr size_t kDimension = 600000;  // blocks of 262144, 262144 and 75712

std::shared_ptr<const Job> JobOf(const std::string& rest) {
  return MakeTestJob(absl::StrCat("model { tensors { tensor { name: 'w' shape: ", kDimension,
                                  " } } } steps: 1 ", rest));
}

TEST(MemoryNeedTest, AReplicaIsItsVectors) {
  const struct {
    const char* rest;
    uint64_t vectors;
  } cases[] = {
      {"", 0},
      {"optimizer: 'sgd:lr=0.1,momentum=0.9'", 1},
      {"optimizer: 'adam:lr=0.1,amsgrad=yes'", 3},
      {"codec: 'top_k:0.1' error_feedback: 'ef21'", 1},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.rest);
    MemoryNeed need;
    AddReplica(*JobOf(c.rest), &need);
    EXPECT_EQ(need["parameters"], 4 * kDimension);
    EXPECT_EQ(need["optimizer state"], c.vectors * 4 * kDimension);
    EXPECT_EQ(need.total(), (1 + c.vectors) * 4 * kDimension);
  }
}

TEST(MemoryNeedTest, APayloadIsAsLongAsItsCodecMakesIt) {
  const struct {
    const char* codec;
    double bytes;  // of one coordinate
    double relative_error;
  } cases[] = {
      {"identity", 4, 1e-9},
      {"bf16", 2, 1e-9},
      {"random_k:0.01", 0.04, 1e-3},
      {"random_k:0.01,values=bf16", 0.02, 1e-3},
      {"sign", 0.125 + 4.0 / 4096, 1e-2},
      {"top_k:0.01", 0.05, 5e-2},  // 4 bytes and about 8 bits of index for each
      {"qsgd", 0.5, 0.1},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.codec);
    const auto job = JobOf(absl::StrCat("codec: '", c.codec, "'"));
    const double want = c.bytes * kDimension;
    EXPECT_NEAR(static_cast<double>(PayloadBytes(*job)), want, c.relative_error * want);
  }
}

TEST(MemoryNeedTest, ThePayloadsOfTensorsWithTheirOwnCodecAreCountedWithIt) {
  const auto job = MakeTestJob(
      "model { tensors { tensor { name: 'a' shape: 1000 } tensor { name: 'b' shape: 3000 } } } "
      "steps: 1 codec: 'identity' tensors { name: 'b' codec: 'bf16' }");
  EXPECT_EQ(PayloadBytes(*job), 4 * 1000 + 2 * 3000u);
}

TEST(MemoryNeedTest, WhatIsTooMuchIsRefusedWithTheSum) {
  MemoryNeed need;
  need.Add("parameters", 400'000'000);
  need.Add("nothing", 0);
  need.Add("fixed", 1'500'000);
  EXPECT_EQ(need.Text(), "parameters 400 MB + fixed 1.5 MB");
  EXPECT_TRUE(CheckMemory("it", need, {.bytes = 401'500'000, .source = "here"}).ok());
  const absl::Status refused =
      CheckMemory("the server", need, {.bytes = 401'499'999, .source = "/sys/memory.max"});
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  for (const char* part : {"the server needs", "/sys/memory.max",
                           "parameters 400 MB + fixed 1.5 MB", "--memory_limit"}) {
    EXPECT_THAT(std::string(refused.message()), HasSubstr(part));
  }
}

TEST(MemoryLimitTest, IsANumberWithAUnit) {
  const struct {
    const char* text;
    uint64_t bytes;
  } good[] = {
      {"1", 1},
      {"4096", 4096},
      {"2KiB", 2048},
      {"1.5MiB", 1572864},
      {"16GiB", 17179869184},
      {"3KB", 3000},
      {"2MB", 2000000},
      {"1GB", 1000000000},
  };
  for (const auto& c : good) {
    const auto limit = ParseMemoryLimit(c.text);
    ASSERT_TRUE(limit.ok()) << limit.status();
    EXPECT_EQ(limit->bytes, c.bytes) << c.text;
  }
  EXPECT_EQ(ParseMemoryLimit("none")->bytes, UINT64_MAX);
  for (const char* text : {"", "0", "-1", "much", "1TiB", "GiB", "nan", "inf", "1e30", "0.5"}) {
    const absl::Status refused = ParseMemoryLimit(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(refused)) << text;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("auto, none, or bytes")) << text;
  }
}

// A folder that stands for the system's root.
class ControlGroupTest : public testing::Test {
 protected:
  ControlGroupTest() : root_(testing::TempDir() + "/memory_need_root") {
    std::filesystem::remove_all(root_);
  }
  ~ControlGroupTest() override { std::filesystem::remove_all(root_); }

  void Put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  MemoryLimit Limit() {
    const auto limit = ParseMemoryLimit("auto", root_);
    EXPECT_TRUE(limit.ok());
    return *limit;
  }

  const std::string root_;
};

TEST_F(ControlGroupTest, WithoutOneTheMachineIsTheLimit) {
  const MemoryLimit limit = Limit();
  EXPECT_GT(limit.bytes, uint64_t{1} << 27);
  EXPECT_LT(limit.bytes, uint64_t{1} << 50);
  EXPECT_EQ(limit.source, "the machine's memory");
}

TEST_F(ControlGroupTest, OfVersion2TheLeastOfAllAroundTheProcessCounts) {
  Put("/proc/self/cgroup", "0::/pods/this\n");
  Put("/sys/fs/cgroup/pods/this/memory.max", "max\n");
  EXPECT_EQ(Limit().source, "the machine's memory");
  Put("/sys/fs/cgroup/pods/memory.max", "90000000\n");
  EXPECT_EQ(Limit().bytes, 90000000u);
  Put("/sys/fs/cgroup/pods/this/memory.max", "80000000\n");
  EXPECT_EQ(Limit().bytes, 80000000u);
  EXPECT_EQ(Limit().source, root_ + "/sys/fs/cgroup/pods/this/memory.max");
}

// In a container the process sees its own group as the root.
TEST_F(ControlGroupTest, TheRootGroupOfAContainerCounts) {
  Put("/proc/self/cgroup", "0::/\n");
  Put("/sys/fs/cgroup/memory.max", "70000000\n");
  EXPECT_EQ(Limit().bytes, 70000000u);
}

TEST_F(ControlGroupTest, OfVersion1TheMemoryControllerCounts) {
  Put("/proc/self/cgroup", "3:cpu,cpuacct:/a\n5:memory:/b\n0::/c\n");
  Put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000\n");
  Put("/sys/fs/cgroup/memory/b/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Limit().source, "the machine's memory");
  Put("/sys/fs/cgroup/memory/b/memory.limit_in_bytes", "60000000\n");
  EXPECT_EQ(Limit().bytes, 60000000u);
}

}  // namespace
}  // namespace gradwire
