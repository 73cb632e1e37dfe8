// SPDX-License-Identifier: Apache-2.0
// Files that change under a process: good ones are taken, of others the last good ones stay.
#include "common/rpc/tls_watcher.h"

#include <gtest/gtest.h>

#include <functional>

#include "absl/time/clock.h"
#include "tests/common/rpc/cert_files.h"

namespace gradwire {
namespace {

class TlsWatcherTest : public testing::Test {
 protected:
  TlsWatcherTest()
      : good_(MakeTestCerts("watch_good")),
        next_(MakeTestCerts("watch_next", absl::Hours(48))),
        live_(testing::TempDir() + "/gradwire_watch_live") {
    std::filesystem::remove_all(live_);
    std::filesystem::create_directory(live_);
    for (const char* file : {"server.crt", "server.key", "ca.crt"}) Copy(good_, file);
    auto opened = TlsWatcher::Open(PathsIn(live_), absl::Now());
    EXPECT_TRUE(opened.ok()) << opened.status();
    watcher_ = *std::move(opened);
  }
  void Copy(const std::string& from, const std::string& file) {
    WriteText(live_ + "/" + file, ReadText(from + "/" + file));
  }
  void Poll() { watcher_->Poll(now_); }

  const std::string good_;
  const std::string next_;
  const std::string live_;
  absl::Time now_ = absl::Now();
  std::shared_ptr<TlsWatcher> watcher_;
};

TEST_F(TlsWatcherTest, AGoodChangeIsTakenAtOnce) {
  const absl::Time first_end = watcher_->stats().not_after;
  Poll();
  EXPECT_EQ(watcher_->current().generation, 1u);
  for (const char* file : {"server.crt", "server.key", "ca.crt"}) Copy(next_, file);
  Poll();
  EXPECT_EQ(watcher_->current().generation, 2u);
  EXPECT_EQ(watcher_->current().material->pem.certificates, ReadText(next_ + "/server.crt"));
  EXPECT_GT(watcher_->stats().not_after, first_end + absl::Hours(23));
  EXPECT_EQ(watcher_->stats().reloads, 1u);
  EXPECT_EQ(watcher_->stats().reload_errors, 0u);
}

TEST_F(TlsWatcherTest, WhatIsNotGoodLeavesTheLastGoodOneAndIsCountedOnce) {
  struct Case {
    const char* name;
    std::function<void()> spoil;
  };
  const Case cases[] = {
      {"another key", [&] { Copy(next_, "server.key"); }},
      {"half a certificate",
       [&] {
         const std::string text = ReadText(good_ + "/server.crt");
         WriteText(live_ + "/server.crt", text.substr(0, text.size() / 2));
       }},
      {"no key", [&] { std::filesystem::remove(live_ + "/server.key"); }},
      {"no authority", [&] { WriteText(live_ + "/ca.crt", "nothing"); }},
      {"expired",
       [&] {
         for (const char* file : {"server.crt", "server.key"}) Copy(next_, file);
         now_ = absl::Now() + absl::Hours(72);
       }},
  };
  uint64_t errors = 0;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    c.spoil();
    Poll();  // once may be chance: a pair is not written at once
    EXPECT_FALSE(watcher_->stats().failing);
    EXPECT_EQ(watcher_->stats().reload_errors, errors);
    ++errors;
    for (int i = 0; i < 3; ++i) Poll();
    EXPECT_TRUE(watcher_->stats().failing);
    EXPECT_EQ(watcher_->stats().reload_errors, errors);
    EXPECT_EQ(watcher_->current().generation, 1u);
    EXPECT_EQ(watcher_->current().material->pem.certificates, ReadText(good_ + "/server.crt"));
    now_ = absl::Now();
    for (const char* file : {"server.crt", "server.key", "ca.crt"}) Copy(good_, file);
    Poll();
    EXPECT_FALSE(watcher_->stats().failing);
  }
}

TEST_F(TlsWatcherTest, APairThatIsWrittenHalfByHalfIsNoError) {
  Copy(next_, "server.crt");
  Poll();
  Copy(next_, "server.key");
  Poll();
  EXPECT_EQ(watcher_->current().generation, 2u);
  EXPECT_EQ(watcher_->stats().reload_errors, 0u);
}

}  // namespace
}  // namespace gradwire
