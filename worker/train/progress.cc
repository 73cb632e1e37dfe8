// SPDX-License-Identifier: Apache-2.0
// Decides when a line of progress is due, and measures the rates in it.
#include "worker/train/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace gradwire {
namespace {

constexpr absl::Duration kWindow = absl::Seconds(10);
constexpr absl::Duration kRedraw = absl::Milliseconds(100);

}  // namespace

Progress::Progress(const ProgressOptions& options, const Clock* clock)
    : options_(options), clock_(clock), last_shown_(clock->Now()) {
  state_.steps = options.steps;
  state_.dense_bytes = static_cast<double>(options.dense_bytes);
}

void Progress::Step(uint64_t step, double loss, uint64_t up_bytes, uint64_t down_bytes) {
  const Sample now = {clock_->Now(), step, up_bytes, down_bytes};
  state_.step = step;
  state_.loss = loss;
  shown_ = false;
  Measure(now);
  const absl::Duration due = options_.terminal ? kRedraw : options_.every;
  if (now.time - last_shown_ < due) return;
  last_shown_ = now.time;
  Show();
}

// Keeps one sample for each redraw, and always one that is older than the window.
void Progress::Measure(const Sample& now) {
  if (samples_.empty() || now.step < samples_.back().step) samples_ = {now};
  while (samples_.size() > 1 && now.time - samples_[1].time >= kWindow) samples_.pop_front();
  const Sample& first = samples_.front();
  if (now.step > first.step && now.time > first.time) {
    const auto steps = static_cast<double>(now.step - first.step);
    state_.steps_per_second = steps / absl::ToDoubleSeconds(now.time - first.time);
    state_.up_bytes = static_cast<double>(now.up_bytes - first.up_bytes) / steps;
    state_.down_bytes = static_cast<double>(now.down_bytes - first.down_bytes) / steps;
  }
  if (now.time - samples_.back().time >= kRedraw) samples_.push_back(now);
}

void Progress::Evaluated(const v1::Evaluation& evaluation) {
  state_.metrics.clear();
  for (const v1::Metric& metric : evaluation.metrics()) {
    state_.metrics.emplace_back(metric.name(), metric.value());
  }
  shown_ = false;
}

void Progress::Finish() {
  if (!shown_) Show();
  if (!live_line_) return;
  std::fputs("\n", options_.out);
  std::fflush(options_.out);
  live_line_ = false;
}

void Progress::Show() {
  const std::string text = FormatProgress(state_);
  if (options_.terminal) {
    const size_t columns = options_.columns > 0 ? options_.columns : TerminalColumns(options_.out);
    std::fputs(LiveLine(text, columns).c_str(), options_.out);
    live_line_ = true;
  } else {
    std::fputs(absl::StrCat(text, "\n").c_str(), options_.out);
  }
  std::fflush(options_.out);
  shown_ = true;
}

bool OutputIsTerminal(std::FILE* out) { return isatty(fileno(out)) == 1; }

size_t TerminalColumns(std::FILE* out) {
  constexpr size_t kUsual = 80;
  winsize size = {};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUsual;
  return size.ws_col;
}

}  // namespace gradwire
