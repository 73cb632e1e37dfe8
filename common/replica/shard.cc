// SPDX-License-Identifier: Apache-2.0
// Implementation of shard.h.
#include "common/replica/shard.h"

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gradwire {

absl::StatusOr<Shard> ParseShard(absl::string_view text) {
  const std::vector<absl::string_view> numbers = absl::StrSplit(text, '/');
  Shard shard;
  if (numbers.size() == 2 && absl::SimpleAtoi(numbers[0], &shard.index) &&
      absl::SimpleAtoi(numbers[1], &shard.count) && shard.index < shard.count &&
      shard.count <= Shard::kMaxCount) {
    return shard;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "shard \"", absl::CHexEscape(text), "\" is not INDEX/COUNT, as in 0/2 and 1/2: the index ",
      "from 0 and below the count, the count at most ", Shard::kMaxCount));
}

std::string ShardText(const Shard& shard) { return absl::StrCat(shard.index, "/", shard.count); }

}  // namespace gradwire
