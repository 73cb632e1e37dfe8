// SPDX-License-Identifier: Apache-2.0
#include "common/base/time_histogram.h"

#include <gtest/gtest.h>

#include <numeric>

namespace gradwire {
namespace {

TEST(TimeHistogramTest, ATimeIsInTheFirstRangeThatEndsNotBelowIt) {
  for (size_t i = 0; i < TimeHistogram::kBounds.size(); ++i) {
    TimeHistogram histogram;
    const absl::Duration bound = absl::Seconds(TimeHistogram::kBounds[i]);
    histogram.Add(bound);
    histogram.Add(bound + absl::Microseconds(1));
    const TimeHistogram::Values values = histogram.values();
    EXPECT_EQ(values.counts[i], 1u) << i;
    EXPECT_EQ(values.counts[i + 1], 1u) << i;
    EXPECT_EQ(values.count, 2u);
  }
}

TEST(TimeHistogramTest, TheSumIsThatOfTheTimesAndNegativeOnesAreNone) {
  TimeHistogram histogram;
  for (int i = 1; i <= 1000; ++i) histogram.Add(absl::Milliseconds(i));
  histogram.Add(-absl::Hours(1));
  const TimeHistogram::Values values = histogram.values();
  EXPECT_DOUBLE_EQ(values.seconds, 500.5);
  EXPECT_EQ(values.count, 1001u);
  EXPECT_EQ(std::accumulate(values.counts.begin(), values.counts.end(), uint64_t{0}), 1001u);
  EXPECT_EQ(values.counts.front(), 1u);
}

}  // namespace
}  // namespace gradwire
