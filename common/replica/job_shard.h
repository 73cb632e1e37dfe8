// SPDX-License-Identifier: Apache-2.0
// How a job is cut into shards.
#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "common/replica/job.h"

namespace gradwire {

// Blocks [first, end) of the whole job.
struct BlockRange {
  size_t first = 0;
  size_t end = 0;
};

// A function of the whole job's layout and the shard: ranges follow each other, every one with at
// least one block, and begin at the blocks nearest to equal numbers of coordinates.  The layout has
// at least shard.count blocks.
BlockRange BlocksOfShard(const Layout& layout, const Shard& shard);

// Leaves of a whole job what the shard has.  InvalidArgument: there are more shards than blocks, or
// the job needs what one shard cannot see; with the remedy.
absl::Status CutToShard(const Shard& shard, Job* job);

}  // namespace gradwire
