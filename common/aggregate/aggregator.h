// SPDX-License-Identifier: Apache-2.0
// What a robust aggregator is: it makes one gradient of the members' payloads, each decoded by
// itself, so that a few members who send anything at all cannot lead the others astray.
#pragma once

#include <cstddef>

#include "absl/types/span.h"

namespace gradwire {

// What an aggregator needs to know of payloads.
struct AggregatorTraits {
  // It compares members coordinate by coordinate: only for codecs whose every payload says nearly
  // what its member's value is, of the same coordinates for all (Alone::kCoordinates).
  bool per_coordinate = false;
  // It looks at the norms of whole payloads, over all blocks.
  bool needs_norms = false;
};

// The payloads of a step's used members, in rank order; at least one.
struct MemberRows {
  absl::Span<const double> norms;  // of whole payloads; empty unless traits().needs_norms
  absl::Span<float* const> rows;   // one a member, which Combine may use as scratch
  size_t size = 0;                 // values in each: the same coordinates in all, all finite
};

// Holds no state: any method may be called from any thread.
class Aggregator {
 public:
  virtual ~Aggregator() = default;

  virtual AggregatorTraits traits() const = 0;

  // Of so many members (at least one), how many may send what they like.
  virtual size_t withstands(size_t members) const = 0;

  // out[i] from rows[m][i] of all members m: a function of these bits, the norms and the order of
  // members alone, by + - x / in a stated order.  What it gives is finite: no sum may overflow
  // because somebody sends 1e38.
  virtual void Combine(const MemberRows& members, absl::Span<float> out) const = 0;
};

}  // namespace gradwire
