// SPDX-License-Identifier: Apache-2.0
// A flood of joins from one machine, and what the others notice of it: nothing.
#include "server/join_limiter.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

size_t Admitted(JoinLimiter* limiter, const std::string& host, size_t tries) {
  size_t admitted = 0;
  for (size_t i = 0; i < tries; ++i) {
    if (limiter->Admit(absl::StrCat(host, ":", i)).ok()) ++admitted;  // each from another port
  }
  return admitted;
}

TEST(JoinLimiterTest, AHostHasABurstAndThenARate) {
  FakeClock clock;
  JoinLimiter limiter(&clock);
  const auto burst = static_cast<size_t>(JoinLimiter::kBurst);
  const auto rate = static_cast<size_t>(JoinLimiter::kPerSecond);
  EXPECT_EQ(Admitted(&limiter, "ipv4:1.2.3.4", 10 * burst), burst);
  EXPECT_EQ(Admitted(&limiter, "ipv4:1.2.3.5", burst), burst);
  clock.Advance(absl::Seconds(2));
  EXPECT_EQ(Admitted(&limiter, "ipv4:1.2.3.4", burst), 2 * rate);
  clock.Advance(absl::Hours(1));
  EXPECT_EQ(Admitted(&limiter, "ipv4:1.2.3.4", 10 * burst), burst);
}

TEST(JoinLimiterTest, ItRemembersABoundedNumberOfHosts) {
  FakeClock clock;
  JoinLimiter limiter(&clock);
  for (size_t i = 0; i < JoinLimiter::kMaxHosts; ++i) {
    EXPECT_TRUE(limiter.Admit(absl::StrCat("ipv4:10.0.", i / 256, ".", i % 256, ":1")).ok());
  }
  const auto burst = static_cast<size_t>(JoinLimiter::kBurst);
  EXPECT_EQ(Admitted(&limiter, "ipv4:1.1.1.1", burst / 2), burst / 2);
  EXPECT_EQ(Admitted(&limiter, "ipv4:2.2.2.2", burst), burst / 2);  // the same bucket
  clock.Advance(absl::Hours(1));
  EXPECT_EQ(Admitted(&limiter, "ipv4:3.3.3.3", 2 * burst), burst);  // the old ones are forgotten
}

}  // namespace
}  // namespace gradwire
