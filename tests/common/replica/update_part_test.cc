// SPDX-License-Identifier: Apache-2.0
// UpdateParts read in place, against what protobuf reads from the same bytes.
#include "common/replica/update_part.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "common/replica/block_codec.h"

namespace gradwire {
namespace {

v1::UpdatePart SomePart() {
  v1::UpdatePart part;
  part.set_version(300);
  part.set_codec(v1::CODEC_TOP_K);
  for (uint32_t block = 0; block < 3; ++block) {
    part.add_blocks()->set_block(block * 200);
    part.mutable_blocks(block)->set_payload(
        std::string(block * 70, static_cast<char>('a' + block)));
  }
  part.mutable_blocks(1)->set_codec(v1::CODEC_BF16);
  part.mutable_header()->set_learning_rate(0.5f);
  return part;
}

void ExpectSame(const UpdatePartView& view, const v1::UpdatePart& part) {
  EXPECT_EQ(view.version, part.version());
  ASSERT_EQ(view.blocks.size(), static_cast<size_t>(part.blocks_size()));
  for (int i = 0; i < part.blocks_size(); ++i) {
    EXPECT_EQ(view.blocks[i].block, part.blocks(i).block());
    EXPECT_EQ(view.blocks[i].payload, part.blocks(i).payload());
    EXPECT_EQ(view.blocks[i].codec, BlockCodec(part, part.blocks(i)));
  }
  ASSERT_EQ(view.has_header, part.has_header());
  v1::Header header;
  ASSERT_TRUE(header.ParseFromString(std::string(view.header)));
  EXPECT_EQ(header.SerializeAsString(), part.header().SerializeAsString());
}

TEST(UpdatePartTest, ReadsWhatProtobufReads) {
  for (const v1::UpdatePart& part : {SomePart(), v1::UpdatePart()}) {
    const std::string bytes = part.SerializeAsString();
    UpdatePartView view;
    ASSERT_TRUE(ReadUpdatePart(bytes, &view));
    ExpectSame(view, part);
  }
}

// Fields in another order, or of a newer build, are nothing special to protobuf.
TEST(UpdatePartTest, TakesAnyOrderOfFieldsAndUnknownOnes) {
  v1::UpdatePart number;
  number.set_codec(v1::CODEC_SIGN);
  number.set_version(7);
  v1::UpdatePart block;
  block.add_blocks()->set_payload("xyz");
  const std::string unknown("\x7a\x01q\x80\x02\x05", 6);
  const std::string bytes = block.SerializeAsString() + unknown + number.SerializeAsString();
  v1::UpdatePart whole;
  ASSERT_TRUE(whole.ParseFromString(bytes));
  UpdatePartView view;
  ASSERT_TRUE(ReadUpdatePart(bytes, &view));
  ExpectSame(view, whole);
}

TEST(UpdatePartTest, RefusesTwoHeadersAndFieldsOfAnotherType) {
  v1::UpdatePart header;
  header.mutable_header()->set_loss(1);
  const std::string once = header.SerializeAsString();
  UpdatePartView view;
  EXPECT_TRUE(ReadUpdatePart(once, &view));
  EXPECT_FALSE(ReadUpdatePart(once + once, &view));
  for (const char* bad : {"\x0a\x01x", "\x12\x01x", "\x18\x01", "\x20\x01",  // of the part
                          "\x1a\x03\x0a\x01x", "\x1a\x02\x10\x01", "\x1a\x03\x1a\x01x"}) {
    EXPECT_FALSE(ReadUpdatePart(bad, &view)) << testing::PrintToString(bad);
  }
}

TEST(UpdatePartTest, OfDamagedBytesItTakesOnlyWhatProtobufTakes) {
  const std::string whole = SomePart().SerializeAsString();
  std::mt19937_64 random(3);
  size_t taken = 0;
  for (size_t i = 0; i < 20000; ++i) {
    std::string bytes = whole.substr(0, i < whole.size() ? i : whole.size());
    if (i >= whole.size()) bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    UpdatePartView view;
    if (!ReadUpdatePart(bytes, &view)) continue;
    ++taken;
    v1::UpdatePart part;
    v1::Header header;
    const bool whole_header = header.ParseFromString(std::string(view.header));
    ASSERT_EQ(part.ParseFromString(bytes), whole_header);  // the only thing it leaves to others
    if (whole_header) ExpectSame(view, part);
  }
  EXPECT_GT(taken, 1000u);
}

}  // namespace
}  // namespace gradwire
