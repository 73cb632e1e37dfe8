// SPDX-License-Identifier: Apache-2.0
// Implementation of log.h.
#include "common/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string>

namespace gradwire {
namespace {

spdlog::string_view_t View(absl::string_view text) { return {text.data(), text.size()}; }

}  // namespace

void SetUpLogging(absl::string_view program) {
  auto logger = std::make_shared<spdlog::logger>(std::string(program),
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %L %n: %v");
  spdlog::set_default_logger(std::move(logger));
}

void LogInfo(absl::string_view message) { spdlog::info(View(message)); }
void LogWarning(absl::string_view message) { spdlog::warn(View(message)); }
void LogError(absl::string_view message) { spdlog::error(View(message)); }

}  // namespace gradwire
