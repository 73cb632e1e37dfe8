// SPDX-License-Identifier: Apache-2.0
// The roles that take no part in a job: printing its progress, or evaluating its parameters.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/status/status.h"
#include "worker/client/observer.h"

namespace gradwire {

struct WatchOptions {
  ObserverOptions observer;
  bool evaluate = false;    // else: version and loss of every update
  std::string data = {};    // of evaluate; see LoadData
  uint64_t every = 200;     // of evaluate: versions between evaluations, at least; not 0
  std::FILE* out = stdout;  // for one line each
};

// Until the job has ended: then one more evaluation, where there was none of the last version, and
// the line that workers end with.  Errors are the observer's and the trainer's; Aborted when the
// output cannot be written.
absl::Status Watch(const WatchOptions& options);

}  // namespace gradwire
