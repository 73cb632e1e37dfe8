// SPDX-License-Identifier: Apache-2.0
// Implementation of kept_block.h.
#include "server/kept_block.h"

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/codec/index_coding.h"

namespace gradwire {
namespace {

template <typename Number>
std::string BytesOf(const std::vector<Number>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Number)};
}

template <typename Number>
std::vector<Number> NumbersIn(absl::string_view bytes) {
  std::vector<Number> numbers(bytes.size() / sizeof(Number));
  if (!numbers.empty()) std::memcpy(numbers.data(), bytes.data(), bytes.size());
  return numbers;
}

v1::KeptBlock* NewBlock(const BlockKey& key, v1::ServerPart* part) {
  v1::KeptBlock* kept = part->add_blocks();
  kept->set_block(key.block);
  return kept;
}

absl::Status Damaged(const BlockKey& key, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the server's part of block ", key.block, ": ", what));
}

}  // namespace

void KeepMean(const BlockKey& key, const BlockValues& mean, v1::ServerPart* part) {
  v1::KeptBlock* kept = NewBlock(key, part);
  kept->set_values(BytesOf(mean.values));
  if (mean.dense) return;
  // AppendIndices has no form of its own for more than half of the coordinates.
  if (2 * mean.indices.size() > key.size) {
    kept->set_wide_indices(BytesOf(mean.indices));
  } else {
    AppendIndices(mean.indices, key.size, kept->mutable_indices());
  }
}

void KeepSum(const BlockKey& key, const Accumulator& sum, v1::ServerPart* part) {
  v1::KeptBlock* kept = NewBlock(key, part);
  kept->set_payloads(sum.payloads);
  kept->set_sums(BytesOf(sum.sums));
  kept->set_planes(BytesOf(sum.bits));
}

absl::Status TakeMean(const BlockKey& key, const v1::KeptBlock& kept, BlockValues* mean) {
  mean->values = NumbersIn<float>(kept.values());
  mean->indices.clear();
  mean->dense = kept.indices().empty() && kept.wide_indices().empty();
  if (!kept.wide_indices().empty()) {
    mean->indices = NumbersIn<uint32_t>(kept.wide_indices());
  } else if (!mean->dense) {
    absl::string_view bytes = kept.indices();
    DecodedIndices decoded;
    const absl::Status status = TakeIndices(key.size, &bytes, &decoded);
    if (!status.ok() || decoded.dense || !bytes.empty()) return Damaged(key, "bad indices");
    mean->indices = std::move(decoded.indices);
  }
  for (size_t i = 0; i < mean->indices.size(); ++i) {
    const bool ascends = i == 0 || mean->indices[i - 1] < mean->indices[i];
    if (!ascends || mean->indices[i] >= key.size) return Damaged(key, "bad indices");
  }
  const size_t count = mean->dense ? key.size : mean->indices.size();
  if (mean->values.size() == count && kept.values().size() == count * sizeof(float)) {
    return absl::OkStatus();
  }
  return Damaged(key, absl::StrCat(kept.values().size(), " bytes for ", count, " values"));
}

absl::Status TakeSum(const BlockKey& key, const v1::KeptBlock& kept, Accumulator* sum) {
  if (kept.payloads() == 0 || kept.sums().size() % sizeof(float) != 0 ||
      kept.planes().size() % sizeof(uint64_t) != 0) {
    return Damaged(key, "no sum of payloads");
  }
  sum->payloads = kept.payloads();
  sum->sums = NumbersIn<float>(kept.sums());
  sum->bits = NumbersIn<uint64_t>(kept.planes());
  return absl::OkStatus();
}

}  // namespace gradwire
