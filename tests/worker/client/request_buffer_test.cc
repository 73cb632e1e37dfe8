// SPDX-License-Identifier: Apache-2.0
// Requests as gRPC gets them, against what protobuf serialises; and who keeps their bytes.
#include "worker/client/request_buffer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace gradwire {
namespace {

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

std::shared_ptr<v1::TrainRequest> SomeRequest(const std::vector<size_t>& payloads) {
  const auto request = std::make_shared<v1::TrainRequest>();
  v1::Gradient* const gradient = request->mutable_gradient();
  gradient->set_step(77);
  gradient->set_base_chain_hash("0123456789abcdef");
  gradient->set_codec(v1::CODEC_IDENTITY);
  for (size_t i = 0; i < payloads.size(); ++i) {
    v1::BlockPayload* const block = gradient->add_blocks();
    block->set_block(static_cast<uint32_t>(i));
    block->set_payload(std::string(payloads[i], static_cast<char>('a' + i)));
    if (i % 2 == 1) block->set_codec(v1::CODEC_SIGN);
  }
  return request;
}

TEST(RequestBufferTest, HasTheBytesThatProtobufWrites) {
  v1::TrainRequest hello;
  hello.mutable_hello()->set_worker_id("w");
  const auto greeting = std::make_shared<const v1::TrainRequest>(hello);
  EXPECT_EQ(BytesOf(RequestBuffer(greeting)), hello.SerializeAsString());
  for (const std::vector<size_t>& payloads :
       {std::vector<size_t>{}, {0}, {10, 5000, 20}, {4095, 4096, 4097}, {1 << 20}}) {
    const auto request = SomeRequest(payloads);
    EXPECT_EQ(BytesOf(RequestBuffer(request)), request->SerializeAsString());
    request->mutable_gradient()->mutable_end()->set_loss(0.5);
    EXPECT_EQ(BytesOf(RequestBuffer(request)), request->SerializeAsString());
  }
}

// So that no field of a later day is forgotten.
TEST(RequestBufferTest, EveryFieldOfAGradientIsSent) {
  const auto request = SomeRequest({100, 100000});
  v1::Gradient* const gradient = request->mutable_gradient();
  const google::protobuf::Reflection* const reflection = gradient->GetReflection();
  const google::protobuf::Descriptor* const fields = v1::Gradient::descriptor();
  gradient->mutable_end()->set_samples(9);
  gradient->set_lead_header("lead");
  std::vector<const google::protobuf::FieldDescriptor*> set;
  reflection->ListFields(*gradient, &set);
  ASSERT_EQ(set.size(), static_cast<size_t>(fields->field_count())) << "set the new field here";
  set.clear();
  const v1::BlockPayload& block = gradient->blocks(1);
  block.GetReflection()->ListFields(block, &set);
  ASSERT_EQ(set.size(), static_cast<size_t>(v1::BlockPayload::descriptor()->field_count()));
  EXPECT_EQ(BytesOf(RequestBuffer(request)), request->SerializeAsString());
}

TEST(RequestBufferTest, ALargePayloadIsNotCopiedAndLivesAsLongAsTheBuffer) {
  auto request = SomeRequest({100, 100000});
  const std::weak_ptr<v1::TrainRequest> alive = request;
  const std::string bytes = request->SerializeAsString();
  const std::string* const payload = &request->gradient().blocks(1).payload();
  grpc::ByteBuffer buffer = RequestBuffer(request);
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(buffer.Dump(&slices).ok());
  bool in_place = false;
  for (const grpc::Slice& slice : slices) {
    in_place = in_place || slice.begin() == reinterpret_cast<const uint8_t*>(payload->data());
  }
  EXPECT_TRUE(in_place);
  slices.clear();
  request.reset();
  EXPECT_FALSE(alive.expired());
  EXPECT_EQ(BytesOf(buffer), bytes);
  buffer.Clear();
  EXPECT_TRUE(alive.expired());
}

}  // namespace
}  // namespace gradwire
