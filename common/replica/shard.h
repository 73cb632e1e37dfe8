// SPDX-License-Identifier: Apache-2.0
// A shard: one of the servers that a job's blocks are spread over, each with a run of them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwire {

struct Shard {
  static constexpr uint32_t kMaxCount = 64;

  uint32_t index = 0;  // shard 0 leads
  uint32_t count = 1;  // 1: the only server

  bool alone() const { return count == 1; }
  // Members, learning rate, settings and the job's end come from shard 0, by the workers.
  bool follows() const { return index > 0; }
  friend bool operator==(const Shard& a, const Shard& b) {
    return a.index == b.index && a.count == b.count;
  }
};

// "1/2".  InvalidArgument names what is wrong, and what is allowed.
absl::StatusOr<Shard> ParseShard(absl::string_view text);
std::string ShardText(const Shard& shard);

}  // namespace gradwire
