// SPDX-License-Identifier: Apache-2.0
// Implementation of machine.h.
#include "common/base/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <thread>

#include "absl/algorithm/container.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gradwire {
namespace {

// `group` is a path below `mount`; its parents limit it too.
void AddGroup(const std::string& mount, absl::string_view group, absl::string_view name,
              std::vector<std::string>* files) {
  std::string path(group == "/" ? "" : group);
  for (;;) {
    files->push_back(absl::StrCat(mount, path, "/", name));
    if (path.empty()) return;
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

// The first two words of a file; those that are missing are empty.
std::pair<std::string, std::string> FirstWords(const std::string& path) {
  std::ifstream file(path);
  std::pair<std::string, std::string> words;
  file >> words.first >> words.second;
  return words;
}

// Lowers `cores` to the time of a group; "max" and -1 are no limit.
void LowerToQuota(const std::string& quota, const std::string& period, double* cores) {
  double used = 0;
  double of = 0;
  if (absl::SimpleAtod(quota, &used) && absl::SimpleAtod(period, &of) && used > 0 && of > 0) {
    *cores = std::min(*cores, used / of);
  }
}

size_t BoundCores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof(cores), &cores) == 0) {
    return static_cast<size_t>(CPU_COUNT(&cores));
  }
  return std::thread::hardware_concurrency();  // more cores than the set has room for
}

}  // namespace

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 && name[0] != '\0' ? name : "worker";
}

std::vector<std::string> ControlGroupFiles(absl::string_view controller, absl::string_view name2,
                                           absl::string_view name1, const std::string& root) {
  std::vector<std::string> files;
  std::ifstream groups(root + "/proc/self/cgroup");
  // hierarchy:controllers:group; version 2 is 0 with no controllers.
  for (std::string line; std::getline(groups, line);) {
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    if (fields[1].empty()) AddGroup(root + "/sys/fs/cgroup", fields[2], name2, &files);
    const std::vector<std::string> controllers = absl::StrSplit(fields[1], ',');
    if (absl::c_linear_search(controllers, controller)) {
      AddGroup(absl::StrCat(root, "/sys/fs/cgroup/", controller), fields[2], name1, &files);
    }
  }
  return files;
}

size_t UsableCores(const std::string& root) {
  double cores = static_cast<double>(BoundCores());
  for (const std::string& path : ControlGroupFiles("cpu", "cpu.max", "cpu.cfs_quota_us", root)) {
    // Version 2 has "QUOTA PERIOD" in one file, version 1 each in its own.
    const auto [quota, period] = FirstWords(path);
    const std::string sibling = path.substr(0, path.rfind('/')) + "/cpu.cfs_period_us";
    LowerToQuota(quota, period.empty() ? FirstWords(sibling).first : period, &cores);
  }
  return std::max<size_t>(1, static_cast<size_t>(std::ceil(cores)));
}

}  // namespace gradwire
