// SPDX-License-Identifier: Apache-2.0
// Which files of tokens are taken, what each token grants, and what a changed file does.
#include "server/tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/str_cat.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kSecret[] = "secret-token-000";

TEST(TokensTest, EachTokenGrantsWhatItsLineSays) {
  const auto tokens = Tokens::Parse(
      "# a comment, worker secret-token-999\n"
      "\n"
      "worker secret-token-000\n"
      "\tworker \t secret-token-001  worker=w/1 \n"
      "follower secret-token-002\n"
      "admin secret-token-003");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->size(), 4u);
  EXPECT_EQ(tokens->Find("secret-token-000"), (TokenGrant{Role::kWorker, ""}));
  EXPECT_EQ(tokens->Find("secret-token-001"), (TokenGrant{Role::kWorker, "w/1"}));
  EXPECT_EQ(tokens->Find("secret-token-002"), (TokenGrant{Role::kFollower, ""}));
  EXPECT_EQ(tokens->Find("secret-token-003"), (TokenGrant{Role::kAdmin, ""}));
  for (const char* other : {"", "secret-token-999", "secret-token-00", "secret-token-0000",
                            "Secret-token-000", "worker", "#"}) {
    EXPECT_EQ(tokens->Find(other), std::nullopt) << other;
  }
}

TEST(TokensTest, RefusalsNameTheLineAndNoToken) {
  struct Case {
    const char* name;
    std::string line;
    const char* says;
  };
  const Case cases[] = {
      {"role alone", "worker", "ROLE TOKEN"},
      {"unknown role", "root secret-token-000", "worker, follower and admin"},
      {"capital role", "Worker secret-token-000", "worker, follower and admin"},
      {"short", "worker secret-token-00", "15 characters"},
      {"long", "worker " + std::string(513, 'a'), "513 characters"},
      {"a strange character", "worker secret-token-000!", "character 17"},
      {"carriage return", "worker secret-token-000\r", "character 17"},
      {"third word", "worker secret-token-000 w1", "worker=ID"},
      {"no id", "worker secret-token-000 worker=", "worker=ID"},
      {"long id", "worker secret-token-000 worker=" + std::string(257, 'a'), "worker=ID"},
      {"an id that nobody sees", "worker secret-token-000 worker=\x01", "worker=ID"},
      {"id of an admin", "admin secret-token-000 worker=w", "only for the role worker"},
      {"too many words", "worker secret-token-000 worker=a worker=b", "ROLE TOKEN"},
      {"twice", "admin first-token-00000", "earlier line"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto tokens = Tokens::Parse(absl::StrCat("worker first-token-00000\n", c.line, "\n"));
    ASSERT_EQ(tokens.status().code(), absl::StatusCode::kInvalidArgument);
    const std::string message(tokens.status().message());
    EXPECT_THAT(message, HasSubstr("line 2: "));
    EXPECT_THAT(message, HasSubstr(c.says));
    EXPECT_THAT(message, Not(HasSubstr("secret-token")));
  }
  EXPECT_THAT(std::string(Tokens::Parse("# nothing\n").status().message()), HasSubstr("no token"));
}

TEST(TokensTest, ThereIsAMost) {
  std::string text;
  for (size_t i = 0; i < Tokens::kMaxTokens; ++i) {
    absl::StrAppend(&text, "worker ", 1000000000000000 + i, "\n");
  }
  EXPECT_EQ(Tokens::Parse(text)->size(), Tokens::kMaxTokens);
  EXPECT_FALSE(Tokens::Parse(text + "worker one-token-too-many\n").ok());
}

TEST(TokenStoreTest, AGoodChangeCountsAtOnceABadOneNotAtAll) {
  const std::string path = testing::TempDir() + "/gradwire_tokens";
  const auto write = [&path](const std::string& text) { std::ofstream(path) << text; };
  write("worker secret-token-000\n");
  const auto opened = TokenStore::Open(path);
  ASSERT_TRUE(opened.ok()) << opened.status();
  TokenStore& store = **opened;
  write("admin secret-token-000\n");
  store.Poll();
  EXPECT_EQ(store.Find(kSecret), (TokenGrant{Role::kAdmin, ""}));
  EXPECT_EQ(store.stats().reloads, 1u);
  write("admin");
  for (int i = 0; i < 3; ++i) store.Poll();
  EXPECT_TRUE(store.stats().failing);
  EXPECT_EQ(store.stats().reload_errors, 1u);
  EXPECT_EQ(store.Find(kSecret), (TokenGrant{Role::kAdmin, ""}));
  write("follower secret-token-000\n");
  store.Poll();
  EXPECT_FALSE(store.stats().failing);
  EXPECT_EQ(store.Find(kSecret), (TokenGrant{Role::kFollower, ""}));
  EXPECT_THAT(std::string(TokenStore::Open(path + "_none").status().message()),
              HasSubstr("--tokens=" + path + "_none"));
}

}  // namespace
}  // namespace gradwire
