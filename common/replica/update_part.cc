// SPDX-License-Identifier: Apache-2.0
// Implementation of update_part.h.
#include "common/replica/update_part.h"

#include <limits>

#include "common/base/wire_reader.h"

namespace gradwire {
namespace {

constexpr size_t kMaxPartBytes = std::numeric_limits<int>::max();  // protobuf reads no more

bool ReadBlock(absl::string_view bytes, BlockView* block) {
  WireReader reader(bytes);
  for (WireField field; reader.Next(&field);) {
    switch (field.number) {
      case v1::BlockPayload::kBlockFieldNumber:
        if (field.type != WireField::kVarint) return false;
        block->block = static_cast<uint32_t>(field.varint);
        break;
      case v1::BlockPayload::kPayloadFieldNumber:
        if (field.type != WireField::kBytes) return false;
        block->payload = field.bytes;
        break;
      case v1::BlockPayload::kCodecFieldNumber:
        if (field.type != WireField::kVarint) return false;
        block->codec = static_cast<v1::CodecId>(field.varint);
        break;
      default:
        break;  // of a newer build
    }
  }
  return reader.ok();
}

// A field of ours that has another wire type is no UpdatePart of any build.
bool HasItsType(const WireField& field) {
  switch (field.number) {
    case v1::UpdatePart::kVersionFieldNumber:
    case v1::UpdatePart::kCodecFieldNumber:
      return field.type == WireField::kVarint;
    case v1::UpdatePart::kBlocksFieldNumber:
    case v1::UpdatePart::kHeaderFieldNumber:
      return field.type == WireField::kBytes;
    default:
      return true;
  }
}

}  // namespace

bool ReadUpdatePart(absl::string_view bytes, UpdatePartView* part) {
  *part = {};
  if (bytes.size() > kMaxPartBytes) return false;
  v1::CodecId codec = v1::CODEC_UNSPECIFIED;
  WireReader reader(bytes);
  for (WireField field; reader.Next(&field);) {
    if (!HasItsType(field)) return false;
    switch (field.number) {
      case v1::UpdatePart::kVersionFieldNumber:
        part->version = field.varint;
        break;
      case v1::UpdatePart::kCodecFieldNumber:
        codec = static_cast<v1::CodecId>(field.varint);
        break;
      case v1::UpdatePart::kBlocksFieldNumber:
        if (!ReadBlock(field.bytes, &part->blocks.emplace_back())) return false;
        break;
      case v1::UpdatePart::kHeaderFieldNumber:
        if (part->has_header) return false;
        part->has_header = true;
        part->header = field.bytes;
        break;
      default:
        break;  // of a newer build
    }
  }
  for (BlockView& block : part->blocks) {
    if (block.codec == v1::CODEC_UNSPECIFIED) block.codec = codec;
  }
  return reader.ok();
}

}  // namespace gradwire
