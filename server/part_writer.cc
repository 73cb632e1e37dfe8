// SPDX-License-Identifier: Apache-2.0
// Implementation of part_writer.h.
#include "server/part_writer.h"

#include <utility>

#include "common/base/wire_writer.h"
#include "common/rpc/limits.h"

namespace gradwire {
namespace {

// Of a part's first fields, and of what stands around a block's payload.
constexpr size_t kMostAround = 64;

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
  AppendNumberField(v1::BlockPayload::kBlockFieldNumber, block, &around);
  if (!payload.empty()) {
    AppendBytesHead(v1::BlockPayload::kPayloadFieldNumber, payload.size(), &around);
  }
  std::string after;
  if (codec != codec_) AppendNumberField(v1::BlockPayload::kCodecFieldNumber, codec, &after);
  AppendBytesHead(v1::UpdatePart::kBlocksFieldNumber, around.size() + payload.size() + after.size(),
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
  AppendBytesHead(v1::UpdatePart::kHeaderFieldNumber, bytes.size(), &part_);
  part_ += bytes;
  Flush();
  return std::move(parts_);
}

void PartWriter::Begin(v1::CodecId codec, size_t bytes) {
  part_.reserve(bytes + kMostAround);
  codec_ = codec;
  AppendNumberField(v1::UpdatePart::kVersionFieldNumber, version_, &part_);
  AppendNumberField(v1::UpdatePart::kCodecFieldNumber, codec, &part_);
}

void PartWriter::Flush() {
  parts_.push_back(std::move(part_));
  part_.clear();
  blocks_in_part_ = 0;
  bytes_in_part_ = 0;
}

}  // namespace gradwire
