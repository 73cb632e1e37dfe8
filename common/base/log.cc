// SPDX-License-Identifier: Apache-2.0
// Implementation of log.h.
#include "common/base/log.h"

#include <spdlog/formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/time/time.h"

namespace gradwire {
namespace {

spdlog::string_view_t View(absl::string_view text) { return {text.data(), text.size()}; }

bool is_json = false;  // written once, by SetUpLogging

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const spdlog::string_view_t level = spdlog::level::to_string_view(message.level);
    nlohmann::ordered_json line;
    line["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(message.time),
                                    absl::UTCTimeZone());
    line["level"] = std::string(level.data(), level.size());
    line["program"] = std::string(message.logger_name.data(), message.logger_name.size());
    line["message"] = std::string(message.payload.data(), message.payload.size());
    // What is no UTF-8 stops no line.
    const std::string text =
        line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

}  // namespace

void SetUpLogging(absl::string_view program, LogFormat format) {
  auto logger = std::make_shared<spdlog::logger>(std::string(program),
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  is_json = format == LogFormat::kJson;
  if (is_json) {
    logger->set_formatter(std::make_unique<JsonFormatter>());
  } else {
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %L %n: %v");
  }
  spdlog::set_default_logger(std::move(logger));
}

void LogInfo(absl::string_view message) { spdlog::info(View(message)); }
void LogWarning(absl::string_view message) { spdlog::warn(View(message)); }
void LogError(absl::string_view message) { spdlog::error(View(message)); }

void LogEnd(absl::string_view reason) {
  if (is_json) return spdlog::error(View(reason));
  std::fprintf(stderr, "%s: %.*s\n", spdlog::default_logger()->name().c_str(),
               static_cast<int>(reason.size()), reason.data());
}

}  // namespace gradwire
