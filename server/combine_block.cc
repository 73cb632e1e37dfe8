// SPDX-License-Identifier: Apache-2.0
// Implementation of combine_block.h.
#include "server/combine_block.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "common/base/float_environment.h"
#include "common/codec/block_values.h"

namespace gradwire {
namespace {

bool SameCoordinates(const BlockValues& a, const BlockValues& b) {
  return a.dense == b.dense && a.indices == b.indices;
}

// Gives a sparse block these coordinates, among which its own are; both in ascending order.
void Spread(const std::vector<uint32_t>& to, BlockValues* values) {
  std::vector<float> spread(to.size(), 0.0f);
  size_t next = 0;
  for (size_t i = 0; i < to.size() && next < values->indices.size(); ++i) {
    if (to[i] == values->indices[next]) spread[i] = values->values[next++];
  }
  *values = {.dense = false, .indices = to, .values = std::move(spread)};
}

// Gives all members the same coordinates.
void Align(size_t size, std::vector<BlockValues>* members) {
  const BlockValues& first = members->front();
  const auto is_same = [&first](const BlockValues& one) { return SameCoordinates(one, first); };
  if (std::all_of(members->begin(), members->end(), is_same)) return;
  const auto is_dense = [](const BlockValues& one) { return one.dense; };
  if (std::any_of(members->begin(), members->end(), is_dense)) {
    for (BlockValues& one : *members) MakeDense(size, &one);
    return;
  }
  std::vector<uint32_t> all;
  for (const BlockValues& one : *members) {
    const auto middle = static_cast<ptrdiff_t>(all.size());
    all.insert(all.end(), one.indices.begin(), one.indices.end());
    std::inplace_merge(all.begin(), all.begin() + middle, all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
  }
  for (BlockValues& one : *members) Spread(all, &one);
}

}  // namespace

void CombineBlock(const Aggregator& aggregator, const Round& round, absl::Span<const double> norms,
                  size_t block, CombineScratch* scratch, BlockValues* aggregate) {
  SetFloatEnvironment();
  const Codec& codec = round.codec(block);
  const BlockKey key = round.key(block);
  const std::vector<absl::string_view> payloads = round.payloads(block);
  std::vector<BlockValues>& members = scratch->members;
  members.resize(payloads.size());
  for (size_t m = 0; m < payloads.size(); ++m) {
    scratch->sum.Clear();
    // The round has taken the same bytes with the same key, and a codec is a function of them.
    if (!codec.Accumulate(key, payloads[m], &scratch->sum).ok()) std::abort();
    codec.Mean(key, scratch->sum, &members[m]);
  }
  Align(key.size, &members);
  scratch->rows.clear();
  for (BlockValues& one : members) scratch->rows.push_back(one.values.data());
  aggregate->dense = members.front().dense;
  aggregate->indices = members.front().indices;
  aggregate->values.resize(members.front().values.size());
  aggregator.Combine({.norms = norms, .rows = scratch->rows, .size = aggregate->values.size()},
                     absl::MakeSpan(aggregate->values));
}

}  // namespace gradwire
