// SPDX-License-Identifier: Apache-2.0
// Control groups of both versions, laid out in a folder as the kernel shows them.
#include "common/base/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>

namespace gradwire {
namespace {

class MachineTest : public testing::Test {
 protected:
  MachineTest() : root_(testing::TempDir() + "/machine_root") {
    std::filesystem::remove_all(root_);
  }
  ~MachineTest() override { std::filesystem::remove_all(root_); }

  void Put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }

  const std::string root_;
};

size_t CoresOfThisProcess() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  EXPECT_EQ(sched_getaffinity(0, sizeof(cores), &cores), 0);
  return static_cast<size_t>(CPU_COUNT(&cores));
}

TEST_F(MachineTest, WithoutControlGroupsTheCoresAreThoseTheProcessIsBoundTo) {
  EXPECT_EQ(UsableCores(root_), CoresOfThisProcess());
}

TEST_F(MachineTest, AQuotaLowersTheCoresAndIsRoundedUp) {
  Put("/proc/self/cgroup", "0::/pod\n");
  for (const auto& [text, cores] : std::vector<std::pair<std::string, size_t>>{
           {"max 100000\n", CoresOfThisProcess()},
           {"100000 100000\n", 1},
           {"20000 100000\n", 1},
           {"100001 100000\n", std::min<size_t>(2, CoresOfThisProcess())},
           {"100000000 100000\n", CoresOfThisProcess()},
           {"nonsense", CoresOfThisProcess()},
           {"0 0", CoresOfThisProcess()},
           {"", CoresOfThisProcess()}}) {
    Put("/sys/fs/cgroup/pod/cpu.max", text);
    EXPECT_EQ(UsableCores(root_), cores) << text;
  }
}

TEST_F(MachineTest, AGroupAboveLimitsToo) {
  Put("/proc/self/cgroup", "0::/kubepods/pod7/worker\n");
  Put("/sys/fs/cgroup/kubepods/pod7/worker/cpu.max", "max 100000\n");
  Put("/sys/fs/cgroup/kubepods/cpu.max", "50000 100000\n");
  EXPECT_EQ(UsableCores(root_), 1);
}

TEST_F(MachineTest, Version1HasQuotaAndPeriodInFilesOfTheirOwn) {
  Put("/proc/self/cgroup", "5:memory:/a\n3:cpu,cpuacct:/b\n");
  Put("/sys/fs/cgroup/cpu/b/cpu.cfs_period_us", "50000\n");
  Put("/sys/fs/cgroup/cpu/b/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(UsableCores(root_), CoresOfThisProcess());
  Put("/sys/fs/cgroup/cpu/b/cpu.cfs_quota_us", "50000\n");
  EXPECT_EQ(UsableCores(root_), 1);
}

TEST_F(MachineTest, FilesAreNamedFromTheOwnGroupUpToTheRoot) {
  Put("/proc/self/cgroup", "4:memory:/old\n0::/a/b\n");
  EXPECT_THAT(ControlGroupFiles("memory", "memory.max", "memory.limit_in_bytes", root_),
              testing::ElementsAre(root_ + "/sys/fs/cgroup/memory/old/memory.limit_in_bytes",
                                   root_ + "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                   root_ + "/sys/fs/cgroup/a/b/memory.max",
                                   root_ + "/sys/fs/cgroup/a/memory.max",
                                   root_ + "/sys/fs/cgroup/memory.max"));
  EXPECT_THAT(
      ControlGroupFiles("cpu", "cpu.max", "cpu.cfs_quota_us", root_),
      testing::ElementsAre(root_ + "/sys/fs/cgroup/a/b/cpu.max", root_ + "/sys/fs/cgroup/a/cpu.max",
                           root_ + "/sys/fs/cgroup/cpu.max"));
}

TEST_F(MachineTest, TheHostHasAName) { EXPECT_FALSE(HostName().empty()); }

}  // namespace
}  // namespace gradwire
