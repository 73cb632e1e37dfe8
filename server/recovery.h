// SPDX-License-Identifier: Apache-2.0
// How a server comes back: the newest snapshot that is whole, and the log's records after it.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "common/replica/job.h"
#include "common/replica/log_store.h"
#include "common/replica/replica.h"
#include "server/server_state.h"
#include "server/snapshots.h"

namespace gradwire {

struct Recovered {
  std::unique_ptr<Replica> replica;  // not started in a new directory
  std::unique_ptr<ServerState> state;
  uint64_t from = 0;     // the snapshot's version; 0: from the seed
  uint64_t records = 0;  // replayed
  size_t bytes = 0;      // of these
};

// Damaged snapshots are said and passed over.  A log that ends before the snapshot begins anew
// there.  DataLoss names the version that is missing, or the record that does not replay, and
// the remedy; nothing is changed then.  `log` is null where only snapshots are kept: the newest of
// them is where it ends.
absl::StatusOr<Recovered> Recover(const std::shared_ptr<const Job>& job, LogStore* log,
                                  Snapshots* snapshots);

}  // namespace gradwire
