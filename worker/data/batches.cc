// SPDX-License-Identifier: Apache-2.0
// Draws batches from counter-based random words.
#include "worker/data/batches.h"

#include <array>
#include <cstddef>

#include "common/random/counter.h"

namespace gradwire {
namespace {

// The words of one key, one after the other.
class WordStream {
 public:
  explicit WordStream(const RandomKey& key) : key_(key) {}

  uint32_t Next() {
    if (used_ == words_.size()) {
      words_ = RandomWords(key_, index_++);
      used_ = 0;
    }
    return words_[used_++];
  }

 private:
  const RandomKey key_;
  uint32_t index_ = 0;
  std::array<uint32_t, 4> words_ = {};
  size_t used_ = 4;
};

// Uniform in [0, n), n >= 1.
uint32_t DrawBelow(uint32_t n, WordStream* words) {
  const uint32_t biased = -n % n;  // 2^32 mod n: so many low words would come once too often
  uint64_t product = uint64_t{words->Next()} * n;
  while (static_cast<uint32_t>(product) < biased) product = uint64_t{words->Next()} * n;
  return static_cast<uint32_t>(product >> 32);
}

}  // namespace

void FillBatch(uint64_t seed, uint64_t step, uint32_t rank, uint32_t shards, uint32_t rows,
               uint32_t batch, std::vector<uint32_t>* out) {
  const uint32_t shard = rank % shards;
  const uint32_t in_shard = (rows - shard - 1) / shards + 1;
  WordStream words({.seed = seed, .purpose = Purpose::kBatch, .step = step, .block = rank});
  out->resize(batch);
  for (uint32_t& row : *out) row = shard + shards * DrawBelow(in_shard, &words);
}

}  // namespace gradwire
