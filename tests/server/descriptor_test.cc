// SPDX-License-Identifier: Apache-2.0
// The wire contract does not change under anybody's feet: today's descriptors are the golden ones.
//
// After adding a field, message, enum value or method (never after renumbering one), write them
// anew and commit the difference:
//   GRADWIRE_WRITE_GOLDEN=1 build/dev/tests/server_core_test --gtest_filter='DescriptorTest.*'
// It refuses where something that was there has changed or gone without being reserved.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "gradwire/v1/admin.pb.h"
#include "gradwire/v1/gradient.pb.h"
#include "gradwire/v1/job.pb.h"
#include "gradwire/v1/service.pb.h"

namespace gradwire {
namespace {

using google::protobuf::DescriptorProto;
using google::protobuf::EnumDescriptorProto;
using google::protobuf::FieldDescriptorProto;
using google::protobuf::FileDescriptorProto;

struct File {
  const char* name;
  const google::protobuf::FileDescriptor* descriptor;
};

std::vector<File> Files() {
  return {{"gradient", v1::Gradient::descriptor()->file()},
          {"job", v1::JobConfig::descriptor()->file()},
          {"service", v1::JoinRequest::descriptor()->file()},
          {"admin", v1::GetStatusRequest::descriptor()->file()}};
}

std::string GoldenPath(const File& file) {
  return absl::StrCat(GRADWIRE_TEST_DATA, "/golden/descriptors/", file.name, ".txt");
}

std::string Text(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(message, &text);
  return text;
}

FileDescriptorProto Today(const File& file) {
  FileDescriptorProto proto;
  file.descriptor->CopyTo(&proto);
  return proto;
}

std::string ReadGolden(const File& file) {
  std::ifstream in(GoldenPath(file));
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

bool Reserved(const DescriptorProto& message, const FieldDescriptorProto& field) {
  bool name = false;
  for (const std::string& reserved : message.reserved_name()) name |= reserved == field.name();
  for (const auto& range : message.reserved_range()) {
    if (range.start() <= field.number() && field.number() < range.end()) return name;
  }
  return false;
}

template <typename Range>
auto FindByName(const Range& range, const std::string& name) {
  auto it = range.begin();
  while (it != range.end() && it->name() != name) ++it;
  return it;
}

void ExpectEnumsGrewOnly(const std::string& where, const EnumDescriptorProto& was,
                         const EnumDescriptorProto& is) {
  for (const auto& value : was.value()) {
    const auto found = FindByName(is.value(), value.name());
    ASSERT_NE(found, is.value().end()) << where << "." << value.name() << " has gone";
    EXPECT_EQ(found->number(), value.number()) << where << "." << value.name();
  }
}

// Whatever `was` had, `is` has, or has reserved.
void ExpectGrewOnly(const std::string& where, const DescriptorProto& was,
                    const DescriptorProto& is) {
  for (const FieldDescriptorProto& field : was.field()) {
    const std::string name = absl::StrCat(where, ".", field.name());
    const auto found = FindByName(is.field(), field.name());
    if (found == is.field().end()) {
      EXPECT_TRUE(Reserved(is, field)) << name << " has gone and is not reserved";
      continue;
    }
    EXPECT_EQ(found->number(), field.number()) << name;
    EXPECT_EQ(found->type(), field.type()) << name;
    EXPECT_EQ(found->type_name(), field.type_name()) << name;
    EXPECT_EQ(found->label(), field.label()) << name;
    EXPECT_EQ(found->has_oneof_index(), field.has_oneof_index()) << name;
  }
  for (const EnumDescriptorProto& nested : was.enum_type()) {
    const auto found = FindByName(is.enum_type(), nested.name());
    ASSERT_NE(found, is.enum_type().end()) << where << "." << nested.name() << " has gone";
    ExpectEnumsGrewOnly(absl::StrCat(where, ".", nested.name()), nested, *found);
  }
}

void ExpectGrewOnly(const FileDescriptorProto& was, const FileDescriptorProto& is) {
  EXPECT_EQ(was.package(), is.package());
  for (const DescriptorProto& message : was.message_type()) {
    const auto found = FindByName(is.message_type(), message.name());
    ASSERT_NE(found, is.message_type().end()) << message.name() << " has gone";
    ExpectGrewOnly(message.name(), message, *found);
  }
  for (const EnumDescriptorProto& golden : was.enum_type()) {
    const auto found = FindByName(is.enum_type(), golden.name());
    ASSERT_NE(found, is.enum_type().end()) << golden.name() << " has gone";
    ExpectEnumsGrewOnly(golden.name(), golden, *found);
  }
  for (const auto& service : was.service()) {
    const auto found = FindByName(is.service(), service.name());
    ASSERT_NE(found, is.service().end()) << service.name() << " has gone";
    for (const auto& method : service.method()) {
      const auto same = FindByName(found->method(), method.name());
      ASSERT_NE(same, found->method().end()) << method.name() << " has gone";
      EXPECT_EQ(Text(*same), Text(method));
    }
  }
}

TEST(DescriptorTest, NothingOfTheGoldenContractHasChangedOrGone) {
  for (const File& file : Files()) {
    SCOPED_TRACE(file.name);
    FileDescriptorProto golden;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(ReadGolden(file), &golden));
    ExpectGrewOnly(golden, Today(file));
  }
}

TEST(DescriptorTest, TheGoldenCopyIsTodays) {
  for (const File& file : Files()) {
    SCOPED_TRACE(file.name);
    const std::string today = Text(Today(file));
    if (std::getenv("GRADWIRE_WRITE_GOLDEN") != nullptr) {
      ASSERT_FALSE(testing::UnitTest::GetInstance()->Failed()) << "not written: see above";
      std::ofstream(GoldenPath(file)) << today;
    }
    EXPECT_EQ(ReadGolden(file), today)
        << "the contract has grown?  See the head of descriptor_test.cc.";
  }
}

TEST(DescriptorTest, ARenumberedOrLostFieldIsSeen) {
  static const FileDescriptorProto golden = Today(Files()[0]);
  static FileDescriptorProto renumbered = golden;
  renumbered.mutable_message_type(0)->mutable_field(0)->set_number(77);
  EXPECT_NONFATAL_FAILURE(ExpectGrewOnly(golden, renumbered), "Point.version");
  static FileDescriptorProto lost = golden;
  lost.mutable_message_type(0)->mutable_field()->DeleteSubrange(0, 1);
  EXPECT_NONFATAL_FAILURE(ExpectGrewOnly(golden, lost), "not reserved");
  lost.mutable_message_type(0)->add_reserved_name("version");
  auto* range = lost.mutable_message_type(0)->add_reserved_range();
  range->set_start(1);
  range->set_end(2);
  ExpectGrewOnly(golden, lost);
}

}  // namespace
}  // namespace gradwire
