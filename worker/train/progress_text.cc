// SPDX-License-Identifier: Apache-2.0
// Formats progress: short enough for a terminal, the same everywhere.
#include "worker/train/progress_text.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace gradwire {
namespace {

std::string FormatRate(double steps_per_second) {
  const int digits = steps_per_second >= 99.95 ? 0 : steps_per_second >= 9.995 ? 1 : 2;
  return absl::StrFormat("%.*f steps/s", digits, steps_per_second);
}

std::string FormatSaving(double dense_bytes, double bytes) {
  const double saving = dense_bytes / bytes;
  return absl::StrFormat("%.*fx", saving >= 9.95 ? 0 : 1, saving);
}

void AppendTraffic(const ProgressState& state, std::string* line) {
  if (!state.up_bytes.has_value() || !state.down_bytes.has_value()) return;
  absl::StrAppend(line, "  up ", FormatBytes(*state.up_bytes), "  down ",
                  FormatBytes(*state.down_bytes), " a step");
  if (state.dense_bytes <= 0 || *state.up_bytes <= 0 || *state.down_bytes <= 0) return;
  absl::StrAppend(line, "  saving ", FormatSaving(state.dense_bytes, *state.up_bytes), "/",
                  FormatSaving(state.dense_bytes, *state.down_bytes));
}

}  // namespace

std::string FormatBytes(double bytes) {
  const char* const units[] = {"kB", "MB", "GB"};
  if (bytes < 999.5) return absl::StrFormat("%.0f B", bytes);
  double scaled = bytes / 1000;
  size_t unit = 0;
  while (scaled >= 999.95 && unit + 1 < std::size(units)) {
    scaled /= 1000;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", scaled, units[unit]);
}

std::string FormatTimeLeft(absl::Duration duration) {
  constexpr int64_t kMostDays = 9999;  // an infinite duration too
  const int64_t seconds = std::clamp<int64_t>(absl::ToInt64Seconds(duration), 0, kMostDays * 86400);
  if (seconds < 60) return absl::StrFormat("%ds", seconds);
  if (seconds < 3600) return absl::StrFormat("%dm%02ds", seconds / 60, seconds % 60);
  if (seconds < 86400) return absl::StrFormat("%dh%02dm", seconds / 3600, seconds / 60 % 60);
  return absl::StrFormat("%dd%02dh", seconds / 86400, seconds / 3600 % 24);
}

std::string FormatProgress(const ProgressState& state) {
  std::string line = absl::StrFormat("step %d/%d", state.step, state.steps);
  if (state.loss.has_value()) absl::StrAppendFormat(&line, "  loss %.3f", *state.loss);
  for (const auto& [name, value] : state.metrics) {
    absl::StrAppendFormat(&line, "  %s %.3f", name, value);
  }
  const double rate = state.steps_per_second.value_or(0);
  if (rate > 0) absl::StrAppend(&line, "  ", FormatRate(rate));
  AppendTraffic(state, &line);
  if (rate > 0 && state.step < state.steps) {
    const double seconds = static_cast<double>(state.steps - state.step) / rate;
    absl::StrAppend(&line, "  ", FormatTimeLeft(absl::Seconds(seconds)), " left");
  }
  return line;
}

std::string LiveLine(absl::string_view text, size_t columns) {
  // The last column stays free: a full line makes some terminals wrap.
  const size_t room = columns > 0 ? columns - 1 : 0;
  return absl::StrCat("\r", text.substr(0, room), "\x1b[K");
}

}  // namespace gradwire
