// SPDX-License-Identifier: Apache-2.0
// Parts as they are written, against what protobuf serialises.
#include "server/part_writer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/replica/block_codec.h"
#include "common/rpc/limits.h"

namespace gradwire {
namespace {

struct Payload {
  v1::CodecId codec;
  size_t bytes;
};

void ExpectAsProtobufWrites(uint64_t version, const std::vector<Payload>& payloads,
                            const v1::Header& header) {
  PartWriter writer(version);
  size_t bytes = 0;
  for (size_t i = 0; i < payloads.size(); ++i) {
    writer.Add(static_cast<uint32_t>(i), payloads[i].codec, std::string(payloads[i].bytes, 'p'));
    bytes += payloads[i].bytes;
  }
  EXPECT_EQ(writer.payload_bytes(), bytes);
  const std::vector<std::string> parts = writer.Finish(header);
  ASSERT_FALSE(parts.empty());
  size_t block = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    EXPECT_LE(parts[i].size(), kMaxMessageBytes);
    v1::UpdatePart part;
    ASSERT_TRUE(part.ParseFromString(parts[i]));
    EXPECT_EQ(part.SerializeAsString(), parts[i]);
    EXPECT_EQ(part.version(), version);
    EXPECT_LE(part.blocks_size(), kMaxBlocksPerMessage);
    for (const v1::BlockPayload& got : part.blocks()) {
      EXPECT_EQ(got.block(), block);
      EXPECT_EQ(got.payload().size(), payloads[block].bytes);
      EXPECT_EQ(BlockCodec(part, got), payloads[block].codec);
      ++block;
    }
    EXPECT_EQ(part.has_header(), i + 1 == parts.size());
  }
  EXPECT_EQ(block, payloads.size());
  v1::UpdatePart last;
  ASSERT_TRUE(last.ParseFromString(parts.back()));
  EXPECT_EQ(last.header().SerializeAsString(), header.SerializeAsString());
}

TEST(PartWriterTest, WritesWhatProtobufWrites) {
  v1::Header header;
  header.set_learning_rate(0.25f);
  const Payload small = {v1::CODEC_TOP_K, 100};
  const Payload empty = {v1::CODEC_TOP_K, 0};
  const Payload other = {v1::CODEC_IDENTITY, 30};
  const Payload dense = {v1::CODEC_IDENTITY, size_t{1} << 20};
  ExpectAsProtobufWrites(0, {}, header);
  ExpectAsProtobufWrites(1, {}, {});
  ExpectAsProtobufWrites(1, {small}, header);
  ExpectAsProtobufWrites(300, {empty, small, other, small, other, empty}, header);
  ExpectAsProtobufWrites(1ull << 40, {dense, dense, small, dense}, header);
  ExpectAsProtobufWrites(2, std::vector<Payload>(10000, small), header);
  ExpectAsProtobufWrites(3, std::vector<Payload>(10000, empty), header);
}

// So that no field of a later day is forgotten.
TEST(PartWriterTest, KnowsEveryField) {
  EXPECT_EQ(v1::UpdatePart::descriptor()->field_count(), 4);
  EXPECT_EQ(v1::BlockPayload::descriptor()->field_count(), 3);
}

TEST(PartWriterTest, ALongHeaderHasAPartOfItsOwn) {
  v1::Header header;
  for (uint32_t rank = 0; rank < 6000; ++rank) {
    header.add_members()->set_id("some-worker-of-many-" + std::to_string(rank));
  }
  ASSERT_GT(header.ByteSizeLong(), (kMaxMessageBytes - kMaxPayloadBytesPerMessage) / 2);
  PartWriter writer(5);
  writer.Add(0, v1::CODEC_SIGN, "1234");
  const std::vector<std::string> parts = writer.Finish(header);
  ASSERT_EQ(parts.size(), 2u);
  ExpectAsProtobufWrites(5, {{v1::CODEC_SIGN, 4}}, header);
}

}  // namespace
}  // namespace gradwire
