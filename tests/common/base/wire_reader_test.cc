// SPDX-License-Identifier: Apache-2.0
// Fields in place, against bytes written down by hand from protobuf's encoding.
#include "common/base/wire_reader.h"

#include <gtest/gtest.h>

#include <string>

namespace gradwire {
namespace {

TEST(WireReaderTest, GivesEveryFieldByNumberTypeAndValue) {
  const std::string message(
      "\x08\x96\x01"                                      // 1: varint 150
      "\x12\x03"                                          // 2: three bytes
      "abc"                                               //
      "\x19\1\2\3\4\5\6\7\x08"                            // 3: fixed64
      "\x25\1\2\3\4"                                      // 4: fixed32
      "\x80\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"  // 128: varint 2^64 - 1
      "\x2a\x00",                                         // 5: no bytes
      3 + 5 + 9 + 5 + 12 + 2);
  WireReader reader(message);
  WireField field;
  ASSERT_TRUE(reader.Next(&field));
  EXPECT_EQ(field.number, 1u);
  EXPECT_EQ(field.type, WireField::kVarint);
  EXPECT_EQ(field.varint, 150u);
  ASSERT_TRUE(reader.Next(&field));
  EXPECT_EQ(field.number, 2u);
  EXPECT_EQ(field.type, WireField::kBytes);
  EXPECT_EQ(field.bytes, "abc");
  EXPECT_EQ(field.bytes.data(), message.data() + 5);
  ASSERT_TRUE(reader.Next(&field));
  EXPECT_EQ(field.type, WireField::kFixed64);
  ASSERT_TRUE(reader.Next(&field));
  EXPECT_EQ(field.type, WireField::kFixed32);
  ASSERT_TRUE(reader.Next(&field));
  EXPECT_EQ(field.number, 128u);
  EXPECT_EQ(field.varint, UINT64_MAX);
  ASSERT_TRUE(reader.Next(&field));
  EXPECT_EQ(field.number, 5u);
  EXPECT_EQ(field.bytes, "");
  EXPECT_FALSE(reader.Next(&field));
  EXPECT_TRUE(reader.ok());
}

TEST(WireReaderTest, StopsAtWhatIsNoField) {
  const std::string bad[] = {
      std::string("\x00\x01", 2),                          // field number 0
      "\x0b",                                              // a group begins
      "\x0c",                                              // a group ends
      "\x0e",                                              // no wire type
      "\x08",                                              // a varint is missing
      "\x08\x80",                                          // and is cut
      "\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",  // and is too long
      "\x12\x04"
      "abc",                                           // bytes are missing
      "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  // 2^64 - 1 of them
      "\x19\1\2\3\4\5\6\7",
      "\x25\1\2\3",  // fixed ones are cut
      "\xf8\xff\xff\xff\xff\x01"
      "a",  // a tag beyond 32 bits
  };
  for (const std::string& message : bad) {
    WireReader reader(message);
    WireField field;
    EXPECT_FALSE(reader.Next(&field)) << testing::PrintToString(message);
    EXPECT_FALSE(reader.ok());
    EXPECT_FALSE(reader.Next(&field));
  }
}

}  // namespace
}  // namespace gradwire
