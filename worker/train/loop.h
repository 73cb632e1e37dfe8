// SPDX-License-Identifier: Apache-2.0
// The training loop: a session's turns, computed by a trainer.
#pragma once

#include <cstdio>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/client/sharded_session.h"
#include "worker/client/stop_flag.h"

namespace gradwire {

struct LoopOptions {
  std::string data;                // see LoadData
  std::string metrics_path;        // of a MetricsFile; empty: none
  absl::Duration step_delay;       // before each payload is sent; for tests
  std::FILE* out = stdout;         // for progress
  const StopFlag* stop = nullptr;  // the session's; must outlive the call
};

// Trains until the job ends, and leaves it.  Cancelled when the stop was requested: the
// worker has left then, after its current step.  Other errors are the session's and the
// trainer's; the lease is given back where that is still possible.
absl::Status Train(const LoopOptions& options, ShardedSession* session);

}  // namespace gradwire
