// SPDX-License-Identifier: Apache-2.0
// gradwire follow and gradwire evaluate: the worker's program, in the role of that name.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/ctl/commands.h"

namespace gradwire {

absl::Status BecomeWorker(absl::string_view role, char** flags) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  std::string program = (self.parent_path() / "gradwire-worker").string();
  std::string role_flag = absl::StrCat("--role=", role);
  std::vector<char*> arguments = {program.data(), role_flag.data()};
  for (; *flags != nullptr; ++flags) arguments.push_back(*flags);
  arguments.push_back(nullptr);
  if (!error) execv(program.c_str(), arguments.data());
  return absl::NotFoundError(
      absl::StrCat(role, " needs the program gradwire-worker beside gradwire: \"", program,
                   "\" cannot be started: ", error ? error.message() : std::strerror(errno)));
}

}  // namespace gradwire
