// SPDX-License-Identifier: Apache-2.0
// Payloads for the tests of a round, in which the order of addition can be seen.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/round.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {

inline constexpr uint64_t kRoundStep = 12;

using Payload = std::vector<v1::Gradient>;

// "w0", "w1", ...: ranks 0, 1, ..., incarnation 1.
inline std::vector<v1::Member> RoundMembers(size_t count) {
  std::vector<v1::Member> members(count);
  for (size_t i = 0; i < count; ++i) {
    members[i].set_id(absl::StrCat("w", i));
    members[i].set_rank(static_cast<uint32_t>(i));
    members[i].set_incarnation(1);
  }
  return members;
}

// Three blocks; with random_k the sums are those of 26 + 26 + 8 coordinates.
inline std::shared_ptr<const Job> ThreeBlocks(const std::string& codec = "random_k:0.0001") {
  return MakeTestJob(absl::StrCat(
      "model { tensors { tensor { name: 'w' shape: 600000 } } } steps: 100 codec: '", codec, "'"));
}

// The payload number `which`: large values when it is even, small ones when it is odd.  Its loss
// is `which`, of which + 1 samples.
inline Payload PayloadOf(const Job& job, size_t which, size_t blocks_per_message = 1) {
  std::vector<float> values = TestGradient(job, which + 1);
  for (float& value : values) value *= which % 2 == 0 ? 1e4f : 1e-3f;  // so that order matters
  Payload messages = MakePayload(job, kRoundStep, "base", values, blocks_per_message);
  messages.back().mutable_end()->set_loss(static_cast<double>(which));
  messages.back().mutable_end()->set_samples(which + 1);
  return messages;
}

// The sums, block after block, by plain additions of these payloads' values in this order; a
// message a block.
inline std::vector<float> SumInOrder(const std::vector<Payload>& payloads) {
  std::vector<float> all;
  for (size_t block = 0; block < payloads.front().size(); ++block) {
    std::vector<float> sums;
    for (const Payload& payload : payloads) {
      const auto values = PayloadValues(payload[block].blocks(0).payload());
      if (sums.empty()) {
        sums = values;
        continue;
      }
      for (size_t i = 0; i < values.size(); ++i) sums[i] = sums[i] + values[i];
    }
    all.insert(all.end(), sums.begin(), sums.end());
  }
  return all;
}

inline std::vector<float> SumInOrder(const Job& job, const std::vector<size_t>& which) {
  std::vector<Payload> payloads;
  for (const size_t number : which) payloads.push_back(PayloadOf(job, number));
  return SumInOrder(payloads);
}

inline std::vector<float> SumsOf(const Round& round) {
  std::vector<float> all;
  for (size_t block = 0; block < round.blocks(); ++block) {
    const Accumulator& sum = round.sum(block);
    all.insert(all.end(), sum.sums.begin(), sum.sums.end());
  }
  return all;
}

// Sends `count` messages of a payload from `first` on, which must succeed.
inline void SendTo(Round* round, uint32_t rank, const Payload& payload, size_t first = 0,
                   size_t count = SIZE_MAX, uint64_t incarnation = 1) {
  const size_t end = first + std::min(count, payload.size() - first);
  for (size_t i = first; i < end; ++i) {
    const auto added = round->Add(rank, incarnation, payload[i]);
    ASSERT_TRUE(added.ok()) << added.status();
  }
}

}  // namespace gradwire
