// SPDX-License-Identifier: Apache-2.0
// Which bytes may be a token.
#include "common/rpc/token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <cstring>

#include "tests/common/rpc/cert_files.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

TEST(TokenTest, LengthAndEveryByteValue) {
  EXPECT_FALSE(CheckToken(std::string(15, 'a')).ok());
  EXPECT_TRUE(CheckToken(std::string(16, 'a')).ok());
  EXPECT_TRUE(CheckToken(std::string(512, 'a')).ok());
  EXPECT_FALSE(CheckToken(std::string(513, 'a')).ok());
  for (int byte = 0; byte < 256; ++byte) {
    std::string token(20, 'a');
    token[7] = static_cast<char>(byte);
    const bool allowed = byte < 128 && byte != 0 &&
                         (std::isalnum(byte) != 0 || std::strchr("-._~+/=", byte) != nullptr);
    EXPECT_EQ(CheckToken(token).ok(), allowed) << byte;
  }
}

TEST(TokenTest, AFileHoldsOneTokenAndAtMostOneLineEnd) {
  const std::string path = testing::TempDir() + "/gradwire_token";
  for (const char* text : {"0123456789abcdef", "0123456789abcdef\n"}) {
    WriteText(path, text);
    EXPECT_EQ(*ReadTokenFile(path), "0123456789abcdef");
  }
  for (const char* text : {"", "0123456789abcdef\n\n", "0123456789abcdef secret", "short"}) {
    WriteText(path, text);
    const auto token = ReadTokenFile(path);
    ASSERT_FALSE(token.ok());
    EXPECT_THAT(std::string(token.status().message()), HasSubstr("--token_file=" + path));
    EXPECT_THAT(std::string(token.status().message()), testing::Not(HasSubstr("secret")));
  }
  EXPECT_TRUE(absl::IsNotFound(ReadTokenFile(path + "_none").status()));
}

}  // namespace
}  // namespace gradwire
