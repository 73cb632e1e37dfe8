// SPDX-License-Identifier: Apache-2.0
// Implementation of part_writer.h.
#include "server/part_writer.h"

#include <google/protobuf/io/coded_stream.h>

#include <utility>

#include "common/base/wire_reader.h"
#include "common/rpc/limits.h"

namespace gradwire {
namespace {

using google::protobuf::io::CodedOutputStream;

// Of a part's first fields, and of what stands around a block's payload.
constexpr size_t kMostAround = 64;

constexpr uint32_t TagOf(int field, WireField::Type type) {
  return static_cast<uint32_t>(field) << 3 | type;
}

void AppendVarint(uint64_t value, std::string* out) {
  uint8_t bytes[10];
  const uint8_t* end = CodedOutputStream::WriteVarint64ToArray(value, bytes);
  out->append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(end - bytes));
}

// As proto3 does: a zero is not written.
void AppendNumber(int field, uint64_t value, std::string* out) {
  if (value == 0) return;
  AppendVarint(TagOf(field, WireField::kVarint), out);
  AppendVarint(value, out);
}

void AppendLength(int field, uint64_t length, std::string* out) {
  AppendVarint(TagOf(field, WireField::kBytes), out);
  AppendVarint(length, out);
}

}  // namespace

void PartWriter::Add(uint32_t block, v1::CodecId codec, absl::string_view payload) {
  if (blocks_in_part_ == kMaxBlocksPerMessage ||
      (bytes_in_part_ > 0 && bytes_in_part_ + payload.size() > kMaxPayloadBytesPerMessage)) {
    Flush();
  }
  if (part_.empty()) Begin(codec, payload.size());
  bytes_in_part_ += payload.size();
  payload_bytes_ += payload.size();
  ++blocks_in_part_;
  std::string around;
  AppendNumber(v1::BlockPayload::kBlockFieldNumber, block, &around);
  if (!payload.empty()) {
    AppendLength(v1::BlockPayload::kPayloadFieldNumber, payload.size(), &around);
  }
  std::string after;
  if (codec != codec_) AppendNumber(v1::BlockPayload::kCodecFieldNumber, codec, &after);
  AppendLength(v1::UpdatePart::kBlocksFieldNumber, around.size() + payload.size() + after.size(),
               &part_);
  part_.append(around);
  part_.append(payload.data(), payload.size());
  part_.append(after);
}

std::vector<std::string> PartWriter::Finish(const v1::Header& header) {
  const std::string bytes = header.SerializeAsString();
  // One that names many members has a part of its own.
  if (bytes_in_part_ > 0 && bytes.size() > kMaxHeaderBesideBlocks) Flush();
  if (part_.empty()) Begin(v1::CODEC_UNSPECIFIED, bytes.size());
  AppendLength(v1::UpdatePart::kHeaderFieldNumber, bytes.size(), &part_);
  part_ += bytes;
  Flush();
  return std::move(parts_);
}

void PartWriter::Begin(v1::CodecId codec, size_t bytes) {
  part_.reserve(bytes + kMostAround);
  codec_ = codec;
  AppendNumber(v1::UpdatePart::kVersionFieldNumber, version_, &part_);
  AppendNumber(v1::UpdatePart::kCodecFieldNumber, codec, &part_);
}

void PartWriter::Flush() {
  parts_.push_back(std::move(part_));
  part_.clear();
  blocks_in_part_ = 0;
  bytes_in_part_ = 0;
}

}  // namespace gradwire
