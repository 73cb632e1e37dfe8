// SPDX-License-Identifier: Apache-2.0
// The coordinates that random_k sends: k of n, a function of (seed, step, block),
// the same at every worker, so that they never travel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/random/counter.h"

namespace gradwire {

enum class IndexSetLaw { kStratified, kUniform, kStrided };

// k = max(1, floor(ratio * n + 0.5)), at most n, for ratio in (0, 1], n >= 1.
size_t IndexSetSize(double ratio, size_t n);

// Fills `*indices` with k different coordinates of [0, n), ascending; 1 <= k <= n < 2^32.
// Integers only.  Draw i uses word i of `key`, and words behind the k first (whole
// groups of four) in turn for each word that Lemire's method rejects.  Thread-safe.
//   stratified: one coordinate, uniform, of each stratum [floor(i*n/k), floor((i+1)*n/k));
//               in with probability 1 / (length of its stratum), which is k/n when k divides n
//   uniform:    every set of k coordinates equally likely: probability k/n
//   strided:    floor((i*n + r) / k) for i = 0..k-1, one r uniform in [0, n): probability k/n
void FillIndexSet(IndexSetLaw law, const RandomKey& key, size_t n, size_t k,
                  std::vector<uint32_t>* indices);

}  // namespace gradwire
