// SPDX-License-Identifier: Apache-2.0
// Implementation of log.h.
#include "common/rpc/log.h"

#include <grpc/support/log.h>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace gradwire {
namespace {

void Log(gpr_log_func_args* line) {
  const std::string message = absl::StrCat("grpc: ", line->message);
  if (line->severity == GPR_LOG_SEVERITY_ERROR) {
    LogError(message);
  } else {
    LogInfo(message);
  }
}

}  // namespace

void LogForGrpc() { gpr_set_log_function(Log); }

}  // namespace gradwire
