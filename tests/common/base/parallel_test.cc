// SPDX-License-Identifier: Apache-2.0
// Loops spread over threads: every round once, scratch memory never shared.
#include "common/base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace gradwire {
namespace {

constexpr size_t kThreads = 4;

class ParallelTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { SetParallelThreads(kThreads); }
};

TEST_F(ParallelTest, EveryRoundRunsOnceHoweverManyThereAre) {
  for (const size_t count : {0, 1, 2, 3, 4, 5, 1000}) {
    for (int repeat = 0; repeat < 200; ++repeat) {
      std::vector<std::atomic<int>> times(count);
      ParallelFor(count, [&times](size_t i, size_t) { ++times[i]; });
      for (const auto& n : times) ASSERT_EQ(n, 1);
    }
  }
}

// Plain numbers by thread: a race would lose some, and ThreadSanitizer would see it.
TEST_F(ParallelTest, NoTwoRoundsAtATimeHaveTheSameThread) {
  constexpr size_t kRounds = 100000;
  std::vector<size_t> taken(ParallelThreads());
  ParallelFor(kRounds, [&taken](size_t, size_t thread) { ++taken[thread]; });
  size_t sum = 0;
  for (const size_t n : taken) sum += n;
  EXPECT_EQ(sum, kRounds);
}

TEST_F(ParallelTest, SeveralCallersGetTheirOwnRounds) {
  std::vector<std::thread> callers;
  for (size_t caller = 0; caller < 3; ++caller) {
    callers.emplace_back([caller] {
      for (int repeat = 0; repeat < 500; ++repeat) {
        std::vector<size_t> seen(50);
        ParallelFor(seen.size(), [&](size_t i, size_t) { seen[i] += caller + i; });
        for (size_t i = 0; i < seen.size(); ++i) ASSERT_EQ(seen[i], caller + i);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST_F(ParallelTest, TheNumberOfThreadsHasBounds) {
  SetParallelThreads(0);
  EXPECT_EQ(ParallelThreads(), 1u);
  SetParallelThreads(1000);
  EXPECT_EQ(ParallelThreads(), kMaxParallelThreads);
  SetParallelThreads(kThreads);
}

}  // namespace
}  // namespace gradwire
