// SPDX-License-Identifier: Apache-2.0
// A block's aggregate where the job's aggregator, and not the codec, makes one of many payloads.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "common/aggregate/aggregator.h"
#include "common/codec/codec.h"
#include "server/round.h"

namespace gradwire {

// Memory that may be used again for the next block: the decoded payloads of one.
struct CombineScratch {
  Accumulator sum;
  std::vector<BlockValues> members;
  std::vector<float*> rows;
};

// Decodes each used member's payload by itself and combines them.  Where members name different
// coordinates, the aggregate has all that any of them names; to those that do not name one it is
// zero.  `norms` is round.norms().  Of a complete round with at least one used member.
void CombineBlock(const Aggregator& aggregator, const Round& round, absl::Span<const double> norms,
                  size_t block, CombineScratch* scratch, BlockValues* aggregate);

}  // namespace gradwire
