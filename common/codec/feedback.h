// SPDX-License-Identifier: Apache-2.0
// The job's choices around its codecs: error feedback, what the way down carries, and
// when residuals are given up.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/codec/codec.h"

namespace gradwire {

// "auto" | "none" | "classic" | "ef21" | "ef21_sgdm:beta=0.1".
struct ErrorFeedback {
  bool automatic = true;  // what each codec asks for
  Feedback kind = Feedback::kClassic;
  float beta = 0;  // ef21_sgdm: of the new gradient
};
absl::StatusOr<ErrorFeedback> ParseErrorFeedback(absl::string_view spec);

// "auto" | "aggregate" | "compressed".
enum class DownlinkChoice { kAuto, kAggregate, kCompressed };
absl::StatusOr<DownlinkChoice> ParseDownlink(absl::string_view spec);

// "none" | "reset:steps=1000,radius=0.5" | "flush:steps=1000,radius=0.5": after so many steps, or
// when the parameters are so far (Euclidean) from where they were at the last time, whichever is
// first; at least one of the two.  reset: residuals become zero (Avdiukhin and Yaroslavtsev 2021);
// flush: they are sent once, uncompressed, so that nothing is lost.
struct ResidualReset {
  enum class Action { kNone, kReset, kFlush };
  Action action = Action::kNone;
  uint64_t steps = 0;  // 0: not by steps
  double radius = 0;   // 0: not by distance
};
absl::StatusOr<ResidualReset> ParseResidualReset(absl::string_view spec);

}  // namespace gradwire
