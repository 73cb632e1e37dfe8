// SPDX-License-Identifier: Apache-2.0
// A bound on bytes per second: never more, and, for who always wants more, hardly less.
#include "common/base/pacer.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace gradwire {
namespace {

TEST(PacerTest, InNoWindowMoreThanTheRateAllows) {
  constexpr double kRate = 1000;
  constexpr size_t kBurst = 100;
  constexpr size_t kMost = 80;  // in one Take
  std::mt19937_64 random(5);
  Pacer pacer(kRate, kBurst);
  struct Taken {
    absl::Duration at;
    size_t bytes;
  };
  std::vector<Taken> taken;
  absl::Duration now = absl::Seconds(3);
  for (int i = 0; i < 1000; ++i) {
    now += absl::Milliseconds(random() % 8 == 0 ? random() % 1000 : 0);
    now += pacer.Delay(now);
    ASSERT_EQ(pacer.Delay(now), absl::ZeroDuration());
    taken.push_back({now, 1 + random() % kMost});
    pacer.Take(taken.back().bytes, now);
  }
  for (size_t first = 0; first < taken.size(); ++first) {
    size_t bytes = 0;
    for (size_t last = first; last < taken.size(); ++last) {
      bytes += taken[last].bytes;
      const double seconds = absl::ToDoubleSeconds(taken[last].at - taken[first].at);
      ASSERT_LE(static_cast<double>(bytes), kRate * seconds + kBurst + kMost + 1e-6);
    }
  }
}

TEST(PacerTest, WhoAlwaysWantsMoreGetsTheRate) {
  Pacer pacer(1000, 100);
  absl::Duration now = absl::Seconds(3);
  for (int i = 0; i < 100; ++i) {
    now += pacer.Delay(now);
    pacer.Take(50, now);
  }
  // 5000 bytes at 1000 a second: the burst at once, and the last is not waited for.
  EXPECT_EQ(now - absl::Seconds(3), absl::Milliseconds(4850));
}

TEST(PacerTest, NoRateIsNoBound) {
  Pacer pacer(0, 100);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(pacer.Delay(absl::Seconds(1)), absl::ZeroDuration());
    pacer.Take(size_t{1} << 40, absl::Seconds(1));
  }
}

}  // namespace
}  // namespace gradwire
