// SPDX-License-Identifier: Apache-2.0
// A server's need, term by term, against counting by hand; tests/e2e/memory_test.py holds it
// against real processes.
#include "server/server_memory.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/rpc/limits.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

constexpr uint64_t kDimension = 100'000'000;
constexpr uint64_t kVector = 4 * kDimension;

std::shared_ptr<const Job> JobOf(const std::string& rest) {
  return MakeTestJob(absl::StrCat("model { tensors { tensor { name: 'w' shape: ", kDimension,
                                  " } } } steps: 1 membership { workers: 2 } ", rest));
}

MemoryNeed NeedOf(const std::string& rest) {
  return ServerMemoryNeed(*JobOf(rest), {.in_flight = size_t{256} << 20,
                                         .stream_window = size_t{2} << 20,
                                         .cached_log = size_t{64} << 20,
                                         .threads = 2});
}

TEST(ServerMemoryTest, CountsWhatIsKeptBesideTheReplica) {
  const struct {
    const char* rest;
    const char* term;
    uint64_t bytes;
  } cases[] = {
      {"codec: 'random_k:0.01'", "the server's residual", 0},
      {"codec: 'random_k:0.01'", "noise clocks", 0},
      {"codec: 'random_k:0.01' perturbation: 'gaussian:std=0.1'", "noise clocks", 2 * kVector},
      {"codec: 'top_k:0.01'", "the server's residual", kVector},
      {"codec: 'top_k:0.01' downlink: 'aggregate'", "the server's residual", 0},
      {"codec: 'random_k:0.01' reset: 'reset:radius=1'", "parameters at the last reset", kVector},
      {"optimizer: 'adam:lr=0.1'", "optimizer state", 2 * kVector},
      {"", "aggregate", kVector},
      {"", "stream windows", uint64_t{4} << 20},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(NeedOf(c.rest)[c.term], c.bytes) << c.rest << ": " << c.term;
  }
  const auto sums = static_cast<double>(NeedOf("codec: 'random_k:0.01'")["aggregate"]);
  EXPECT_NEAR(sums, 0.01 * kVector, 1);
}

TEST(ServerMemoryTest, PayloadsWaitWithinTheLimitWhereThereIsOne) {
  EXPECT_EQ(NeedOf("")["payloads in flight"], (uint64_t{256} << 20) + 2 * kMaxMessageBytes);
  const uint64_t few = NeedOf("codec: 'random_k:0.0001'")["payloads in flight"];
  EXPECT_NEAR(static_cast<double>(few), 2 * 1e-4 * kVector, 0.01 * few);
  EXPECT_EQ(NeedOf("consistency: QUORUM")["payloads in flight"], 2 * kVector);
}

// 262,144 coordinates a block, two workers, two threads.
TEST(ServerMemoryTest, AnAggregatorHasAllPayloadsAndThoseOfABlockDecoded) {
  const char* const median = "aggregator: 'coordinate_median' ";
  EXPECT_EQ(NeedOf(median)["payloads in flight"], 2 * kVector);
  EXPECT_EQ(NeedOf(median)["payloads decoded one by one"], uint64_t{4} << 20);
  const std::string sparse = absl::StrCat(median, "codec: 'random_k:0.125'");
  EXPECT_EQ(NeedOf(sparse)["payloads decoded one by one"], uint64_t{1} << 20);
  const char* const clip = "aggregator: 'norm_clip' codec: 'top_k:0.01'";
  EXPECT_EQ(NeedOf(clip)["payloads decoded one by one"], uint64_t{8} << 20);
  EXPECT_EQ(NeedOf("max_norm_factor: 3")["payloads in flight"], 2 * kVector);
  EXPECT_EQ(NeedOf("max_norm_factor: 3")["payloads decoded one by one"], 0u);
}

TEST(ServerMemoryTest, OfRandomKItIsTheParametersAndLittleMore) {
  const MemoryNeed need = NeedOf("codec: 'random_k:0.0001'");
  EXPECT_GE(need.total(), kVector);
  EXPECT_LE(need.total(), 2 * kVector + (uint64_t{256} << 20));  // a snapshot as it is read
}

}  // namespace
}  // namespace gradwire
