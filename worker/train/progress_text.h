// SPDX-License-Identifier: Apache-2.0
// Training's progress in one line of text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace gradwire {

// What is not known yet is left out of the line.
struct ProgressState {
  uint64_t step = 0;
  uint64_t steps = 0;
  std::optional<double> loss = std::nullopt;
  std::vector<std::pair<std::string, double>> metrics = {};  // of the last evaluation
  std::optional<double> steps_per_second = std::nullopt;
  std::optional<double> up_bytes = std::nullopt;    // a step
  std::optional<double> down_bytes = std::nullopt;  // a step
  double dense_bytes = 0;  // a step, each way, without compression; 0: not to be compared
};

// "step 812/2000  loss 0.412  accuracy 0.846  18.3 steps/s  up 9.4 kB  down 9.6 kB a step
//  saving 100x/98x  1m05s left", in one line.
std::string FormatProgress(const ProgressState& state);

// "812 B", "9.4 kB", "3.2 MB": powers of 1000.
std::string FormatBytes(double bytes);

// "0.4s" is "0s"; "12s", "1m05s", "2h03m", "4d03h".
std::string FormatTimeLeft(absl::Duration duration);

// What one live line on a terminal of `columns` needs: back to its start, the
// text cut so that it does not wrap, the rest cleared.
std::string LiveLine(absl::string_view text, size_t columns);

}  // namespace gradwire
