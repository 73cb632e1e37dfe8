// SPDX-License-Identifier: Apache-2.0
// What this process may use of its machine, as the system and its control groups tell.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace gradwire {

// "worker" where the system has none to tell.
std::string HostName();

// Paths of the file that limits the control groups of this process, from its own up to the root;
// of both versions, where it is called `name2` and `name1`.  Some may not exist.  `root` stands
// before every path, for tests.
std::vector<std::string> ControlGroupFiles(absl::string_view controller, absl::string_view name2,
                                           absl::string_view name1, const std::string& root = "");

// How many threads can run at once: the cores that this process is bound to, or fewer where a
// control group has less time than they give, rounded up.  At least 1.
size_t UsableCores(const std::string& root = "");

}  // namespace gradwire
