// SPDX-License-Identifier: Apache-2.0
#include "server/admin/site.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>

#include "server/admin/http_server.h"
#include "server/admin/metrics.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kJob[] =
    "name: 'j' model { tensors { tensor { name: 'w' shape: 8 } } } steps: 1000 "
    "membership { workers: 1 }";

class SiteTest : public testing::Test {
 protected:
  void Steps(int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(cluster_.Push(worker_, std::vector<float>(8, 1.0f)).ok());
    }
  }
  json Status() { return json::parse(site_.Get("/api/status").body); }

  FakeCluster cluster_{kJob};
  FakeWorker worker_ = cluster_.Enter("w");
  Site site_{cluster_.coordinator.get(), &cluster_.counters, &cluster_.clock, "/"};
};

TEST_F(SiteTest, TheStatusIsAtMostAFifthOfASecondOld) {
  EXPECT_EQ(Status()["point"]["version"], "0");
  Steps(1);
  cluster_.clock.Advance(absl::Milliseconds(199));
  EXPECT_EQ(Status()["point"]["version"], "0");
  cluster_.clock.Advance(absl::Milliseconds(1));
  EXPECT_EQ(Status()["point"]["version"], "1");
  EXPECT_EQ(Status()["job"]["name"], "j");
  EXPECT_EQ(Status()["payloads_refused"], "0");  // zeros are said
}

TEST_F(SiteTest, ReadyUntilItDrainsAndHealthyStill) {
  EXPECT_EQ(site_.Get("/readyz").code, 200);
  ASSERT_TRUE(cluster_.coordinator->Drain(absl::ZeroDuration()).ok());
  EXPECT_EQ(site_.Get("/readyz").code, 503);
  EXPECT_EQ(site_.Get("/healthz").code, 200);
}

TEST_F(SiteTest, ThePageAndItsFilesAreInTheProgram) {
  EXPECT_THAT(site_.Get("/").body, HasSubstr("<!doctype html>"));
  EXPECT_THAT(site_.Get("/").type, StartsWith("text/html"));
  EXPECT_THAT(site_.Get("/page.js").body, HasSubstr("EventSource"));
  EXPECT_THAT(site_.Get("/page.css").body, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_EQ(site_.Get("/index.html").code, 404);
}

TEST_F(SiteTest, AFeedGivesTheRunThenWhatIsNewThenTheEnd) {
  Steps(3);
  EventFeed feed(&site_);
  const std::string first = feed.Next(false);
  EXPECT_THAT(first, StartsWith("event: run\ndata: {\"evaluations\":[],\"points\":[[1,"));
  EXPECT_THAT(first, HasSubstr("\n\nevent: status\ndata: {"));
  EXPECT_EQ(feed.pause(), absl::Seconds(1));
  EXPECT_THAT(feed.Next(false), StartsWith("event: status\n"));  // nothing new
  Steps(1);
  const std::string more = feed.Next(true);
  EXPECT_THAT(more, StartsWith("event: run\ndata: {\"evaluations\":[],\"points\":[[4,"));
  EXPECT_THAT(more, HasSubstr("\"version\":\"4\""));  // at the end not from before
  EXPECT_THAT(more, testing::EndsWith("event: end\ndata: {}\n\n"));
}

TEST_F(SiteTest, EveryMetricIsThereOnceAndCalledAsPrometheusWants) {
  Steps(2);
  const std::string text = site_.Get("/metrics").body;
  std::set<std::string> names;
  for (const MetricName& metric : MetricNames()) {
    SCOPED_TRACE(metric.name);
    EXPECT_TRUE(names.insert(metric.name).second) << "twice";
    EXPECT_THAT(metric.name, testing::MatchesRegex("(gradwire|process)_[a-z_]+"));
    EXPECT_NE(std::string(metric.help), "");
    const bool counts = std::string(metric.name).ends_with("_total");
    EXPECT_EQ(counts, metric.type == std::string("counter"));
    EXPECT_THAT(text, HasSubstr(absl::StrCat("# HELP ", metric.name, " ", metric.help, "\n")));
    EXPECT_THAT(text, HasSubstr(absl::StrCat("# TYPE ", metric.name, " ", metric.type, "\n")));
  }
  EXPECT_THAT(text, HasSubstr("\ngradwire_rounds_total 2\n"));
  EXPECT_THAT(text, HasSubstr("\ngradwire_phase{phase=\"training\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\ngradwire_phase{phase=\"paused\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("\ngradwire_workers{state=\"member\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\ngradwire_round_seconds_bucket{le=\"+Inf\"} 2\n"));
}

TEST_F(SiteTest, AWorkersNameIsInTheStatusAndInNoMetric) {
  cluster_.Enter("evil\"}\nname 1");
  cluster_.clock.Advance(absl::Seconds(1));
  EXPECT_EQ(Status()["workers"].size(), 2u);
  EXPECT_THAT(site_.Get("/metrics").body, testing::Not(HasSubstr("evil")));
  EventFeed feed(&site_);
  EXPECT_THAT(feed.Next(false), testing::Not(HasSubstr("\nname")));  // it begins no line
}

TEST(ParseHttpListenTest, TakesAddressesAndRefusesWhatCivetWebWouldReadOtherwise) {
  const std::pair<const char*, const char*> good[] = {{"9090", "127.0.0.1:9090"},
                                                      {"0", "127.0.0.1:0"},
                                                      {"0.0.0.0:80", "0.0.0.0:80"},
                                                      {"[::1]:65535", "[::1]:65535"},
                                                      {"localhost:1", "localhost:1"}};
  for (const auto& [text, want] : good) {
    const auto parsed = ParseHttpListen(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, want);
  }
  for (const char* bad : {"", ":", ":80", "80s", "80r", "+80", "-1", "65536", "a:", "a:b", "1,2",
                          "127.0.0.1:1,2", "::1:80", "[]:80", "a b:80", "a/b:1", "[::1:80"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseHttpListen(bad).status())) << bad;
  }
}

}  // namespace
}  // namespace gradwire
