// SPDX-License-Identifier: Apache-2.0
// Payloads that are sent several times in random order, and what must come of them all the same.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tests/server/fake_cluster.h"

namespace gradwire {

using Payloads = std::vector<std::vector<v1::Gradient>>;  // by rank, by block

// (((g0 + g1) + g2) / 3), block after block, by plain float operations.
inline std::vector<std::string> ExpectedUpdate(const Payloads& payloads) {
  std::vector<std::string> blocks;
  for (size_t block = 0; block < payloads[0].size(); ++block) {
    std::vector<float> sum = PayloadValues(payloads[0][block].blocks(0).payload());
    for (size_t rank = 1; rank < payloads.size(); ++rank) {
      const auto values = PayloadValues(payloads[rank][block].blocks(0).payload());
      for (size_t i = 0; i < sum.size(); ++i) sum[i] = sum[i] + values[i];
    }
    for (float& value : sum) value = value / static_cast<float>(payloads.size());
    blocks.emplace_back(reinterpret_cast<const char*>(sum.data()), sum.size() * sizeof(float));
  }
  return blocks;
}

struct Arrival {
  size_t rank;
  size_t block;
};

// Every worker's payload 1 to `most` times, each copy's blocks in order, all copies interleaved.
inline std::vector<Arrival> RandomSchedule(std::mt19937_64* random, size_t workers, size_t blocks,
                                           size_t most = 5) {
  std::vector<std::vector<Arrival>> copies;
  for (size_t rank = 0; rank < workers; ++rank) {
    const size_t times = 1 + (*random)() % most;
    for (size_t copy = 0; copy < times; ++copy) {
      copies.emplace_back();
      for (size_t block = 0; block < blocks; ++block) copies.back().push_back({rank, block});
    }
  }
  std::vector<size_t> turns;
  for (size_t i = 0; i < copies.size(); ++i) turns.insert(turns.end(), blocks, i);
  std::shuffle(turns.begin(), turns.end(), *random);
  std::vector<size_t> next(copies.size(), 0);
  std::vector<Arrival> schedule;
  for (const size_t copy : turns) schedule.push_back(copies[copy][next[copy]++]);
  return schedule;
}

}  // namespace gradwire
