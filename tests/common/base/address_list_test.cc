// SPDX-License-Identifier: Apache-2.0
// Which addresses a list names, and what is no list.
#include "common/base/address_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gradwire {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(AddressListTest, OneAddressIsAListOfOne) {
  EXPECT_THAT(*ParseAddresses("127.0.0.1:7070"), ElementsAre("127.0.0.1:7070"));
}

TEST(AddressListTest, TheOrderIsThatOfTheText) {
  EXPECT_THAT(*ParseAddresses("b:2,a:1"), ElementsAre("b:2", "a:1"));
}

TEST(AddressListTest, ARangeStandsForItsNumbersBothEndsIncluded) {
  EXPECT_THAT(*ParseAddresses("host-{0..2}.name:7070"),
              ElementsAre("host-0.name:7070", "host-1.name:7070", "host-2.name:7070"));
  EXPECT_THAT(*ParseAddresses("h:{9..10},last:1"), ElementsAre("h:9", "h:10", "last:1"));
  EXPECT_THAT(*ParseAddresses("h{7..7}:1"), ElementsAre("h7:1"));
  EXPECT_THAT(*ParseAddresses("h{0..63}:1"), SizeIs(64));
}

TEST(AddressListTest, WhatIsNoListIsRefusedWithTheReason) {
  const struct {
    const char* list;
    const char* says;
  } cases[] = {
      {"", "an address is empty"},
      {"a:1,", "an address is empty"},
      {"h{1..0}:1", "no range {FIRST..LAST}"},
      {"h{0-1}:1", "no range {FIRST..LAST}"},
      {"h{0..}:1", "no range {FIRST..LAST}"},
      {"h}0..1{:1", "no range {FIRST..LAST}"},
      {"h{0..1:1", "no range {FIRST..LAST}"},
      {"h{0..64}:1", "at most 64 numbers"},
      {"h{0..1}-{0..1}:1", "more than one range"},
      {"h{0..63}:1,b:1", "65 addresses are more than 64"},
      {"a:1,b:2,a:1", "\"a:1\" stands there twice"},
  };
  for (const auto& c : cases) {
    const auto addresses = ParseAddresses(c.list);
    EXPECT_EQ(addresses.status().code(), absl::StatusCode::kInvalidArgument) << c.list;
    EXPECT_THAT(std::string(addresses.status().message()), HasSubstr(c.says)) << c.list;
  }
}

}  // namespace
}  // namespace gradwire
