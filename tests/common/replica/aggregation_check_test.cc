// SPDX-License-Identifier: Apache-2.0
// Which aggregators go with which jobs, and what is said of those that do not.
#include "common/replica/aggregation_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/aggregate/registry.h"
#include "common/codec/registry.h"
#include "common/replica/job.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<std::shared_ptr<const Job>> JobOf(const std::string& rest, Shard shard = {}) {
  const absl::StatusOr<v1::JobConfig> config = ParseJobText(absl::StrCat(
      "model { tensors { tensor { name: 'w' shape: [1000, 600] } } } steps: 5 ", rest));
  if (!config.ok()) return config.status();
  return MakeJob(*config, shard);
}

// A spec of each codec that needs a parameter.
std::string SpecOf(absl::string_view codec) {
  for (const char* ratio : {"random_k", "top_k"}) {
    if (codec == ratio) return absl::StrCat(codec, ":0.1");
  }
  return codec == "threshold" ? "threshold:0.1" : std::string(codec);
}

// By the words of the table that README shows.
bool SaysItGoesWith(const AggregatorEntry& entry, absl::string_view codec) {
  absl::string_view text = entry.codecs;
  if (text == "all") return true;
  const bool but = absl::ConsumePrefix(&text, "all but ");
  const std::vector<std::string> names = absl::StrSplit(text, ", ");
  return but != (std::find(names.begin(), names.end(), codec) != names.end());
}

TEST(AggregationCheckTest, EveryCodecTakesTheAggregatorsThatTheTableSays) {
  for (const CodecEntry& codec : CodecRegistry()) {
    for (const AggregatorEntry& aggregator : AggregatorRegistry()) {
      SCOPED_TRACE(absl::StrCat(codec.name, " ", aggregator.name));
      const auto job = JobOf(
          absl::StrCat("codec: '", SpecOf(codec.name), "' aggregator: '", aggregator.name, "'"));
      EXPECT_EQ(job.ok(), SaysItGoesWith(aggregator, codec.name)) << job.status();
    }
  }
}

TEST(AggregationCheckTest, RefusesByNameWithWhatIsAllowed) {
  const struct {
    const char* rest;
    const char* what;
  } cases[] = {
      {"aggregator: 'krum'", "aggregator: \"krum\": no aggregator has this name"},
      {"aggregator: 'coordinate_median' codec: 'top_k:0.1'",
       "aggregator: \"coordinate_median\" does not go with codec top_k: its payloads do not say by "
       "themselves what each coordinate is; it takes the aggregators mean, norm_clip"},
      {"aggregator: 'norm_clip' codec: 'sign_majority'",
       "codec sign_majority: its payloads say something only together; it takes the aggregator "
       "mean, without max_norm_factor"},
      {"aggregator: 'trimmed_mean' tensors { name: 'w' codec: 'qsgd' }",
       "\"trimmed_mean\" does not go with codec qsgd"},
      {"max_norm_factor: 10 codec: 'count_sketch'",
       "max_norm_factor: 10 does not go with codec count_sketch"},
      {"max_norm_factor: 10 aggregator: 'mean' consistency: ASYNC",
       "max_norm_factor: 10 does not go with consistency ASYNC"},
      {"aggregator: 'norm_clip' consistency: ASYNC", "choose SYNC or QUORUM"},
      {"aggregator: 'norm_clip' codec: 'top_k:0.1' error_feedback: 'ef21'",
       "does not go with error_feedback ef21: EF21's mean"},
      {"max_norm_factor: 0.5", "max_norm_factor: 0.5 is not in [1, 1e+30]"},
      {"max_norm_factor: nan", "max_norm_factor: nan is not in [1, 1e+30]"},
  };
  for (const auto& c : cases) {
    const absl::Status status = JobOf(c.rest).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.rest;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.what));
  }
}

TEST(AggregationCheckTest, GoesWithQuorumLagFlushAndNoise) {
  for (const char* rest :
       {"consistency: QUORUM", "lag: 1", "clip: 'norm:1'",
        "codec: 'random_k:0.1' reset: 'flush:steps=3'",
        "codec: 'random_k:0.1' perturbation: 'gaussian:0.1'",
        "perturbation: 'on_demand:radius=1,threshold=1'", "codec: 'int8' downlink: 'compressed'"}) {
    for (const char* robust : {"aggregator: 'trimmed_mean'", "aggregator: 'norm_clip'",
                               "aggregator: 'coordinate_median' max_norm_factor: 5"}) {
      const auto job = JobOf(absl::StrCat(rest, " ", robust));
      EXPECT_TRUE(job.ok()) << job.status();
    }
  }
}

TEST(AggregationCheckTest, WhatLooksAtWholePayloadsDoesNotGoWithShards) {
  const Shard second = {.index = 1, .count = 2};
  EXPECT_TRUE(JobOf("aggregator: 'trimmed_mean'", second).ok());
  EXPECT_TRUE(JobOf("aggregator: 'coordinate_median'", second).ok());
  EXPECT_THAT(std::string(JobOf("aggregator: 'norm_clip'", second).status().message()),
              HasSubstr("aggregator: \"norm_clip\" needs the whole vector"));
  EXPECT_THAT(
      std::string(
          JobOf("aggregator: 'trimmed_mean' max_norm_factor: 9", second).status().message()),
      HasSubstr("max_norm_factor: \"9\" needs the whole vector"));
}

TEST(AggregationCheckTest, TheMeanIsAsIfItHadNotBeenNamed) {
  const auto named = JobOf("aggregator: 'mean'");
  const auto unnamed = JobOf("");
  ASSERT_TRUE(named.ok() && unnamed.ok());
  EXPECT_EQ(JobText((*named)->config), JobText((*unnamed)->config));
  EXPECT_FALSE((*named)->keeps_payloads());
}

TEST(AggregationCheckTest, WarnsOfAnAggregatorThatWithstandsNobody) {
  const struct {
    const char* rest;
    bool warns;
  } cases[] = {
      {"membership { workers: 3 } aggregator: 'trimmed_mean'", true},
      {"membership { workers: 4 } aggregator: 'trimmed_mean'", false},
      {"membership { workers: 4 } aggregator: 'trimmed_mean' consistency: QUORUM", true},
      {"membership { workers: 2 } aggregator: 'coordinate_median'", true},
      {"membership { workers: 3 } aggregator: 'norm_clip'", false},
      {"membership { workers: 1 }", false},
  };
  for (const auto& c : cases) {
    const auto job = JobOf(c.rest);
    ASSERT_TRUE(job.ok()) << job.status();
    bool warned = false;
    for (const std::string& warning : JobWarnings(**job)) {
      warned = warned || absl::StrContains(warning, "withstands no hostile worker");
    }
    EXPECT_EQ(warned, c.warns) << c.rest;
  }
}

}  // namespace
}  // namespace gradwire
