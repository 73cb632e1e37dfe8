// SPDX-License-Identifier: Apache-2.0
// Shows a person how training goes: one live line on a terminal, elsewhere a line
// every few seconds.
#pragma once

#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "gradwire/v1/gradient.pb.h"
#include "worker/train/progress_text.h"

namespace gradwire {

struct ProgressOptions {
  std::FILE* out = stderr;
  bool terminal = false;                    // OutputIsTerminal(out)
  size_t columns = 0;                       // of the terminal; 0: ask it each time
  absl::Duration every = absl::Seconds(5);  // between plain lines
  uint64_t steps = 0;                       // the job's
  uint64_t dense_bytes = 0;                 // a step, each way: 4 * dimension
};

// Rates and bytes are those of the last ten seconds.  Failed writes are ignored:
// a closed terminal stops no training.  One thread at a time.
class Progress {
 public:
  // `clock` must outlive it.
  Progress(const ProgressOptions& options, const Clock* clock);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // After step `step`; the bytes are totals since the worker started.
  void Step(uint64_t step, double loss, uint64_t up_bytes, uint64_t down_bytes);
  // The job has so many from now on.
  void SetSteps(uint64_t steps) { state_.steps = steps; }
  // The evaluation whose metrics are shown from now on.
  void Evaluated(const v1::Evaluation& evaluation);
  // A last line with where training stands, and the end of the live line.
  void Finish();

 private:
  struct Sample {
    absl::Duration time;
    uint64_t step;
    uint64_t up_bytes;
    uint64_t down_bytes;
  };

  void Measure(const Sample& now);
  void Show();

  const ProgressOptions options_;
  const Clock* const clock_;
  ProgressState state_;
  std::deque<Sample> samples_;  // about one for each line shown
  absl::Duration last_shown_;
  bool shown_ = false;      // the state, as it is
  bool live_line_ = false;  // stands on the terminal without its end
};

// Both ask the operating system about the file behind `out`; 80 where it does not know.
bool OutputIsTerminal(std::FILE* out);
size_t TerminalColumns(std::FILE* out);

}  // namespace gradwire
