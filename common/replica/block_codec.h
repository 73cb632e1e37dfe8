// SPDX-License-Identifier: Apache-2.0
// Which codec a block of a message has: the message's, unless the block names another.
#pragma once

#include <string>
#include <utility>

#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

// Message: v1::Gradient or v1::UpdatePart.
template <typename Message>
v1::CodecId BlockCodec(const Message& message, const v1::BlockPayload& block) {
  return block.codec() == v1::CODEC_UNSPECIFIED ? message.codec() : block.codec();
}

// Appends a block; the message's first gives the message its codec.
template <typename Message>
void AddBlock(uint32_t block, v1::CodecId codec, std::string payload, Message* message) {
  if (message->blocks_size() == 0) message->set_codec(codec);
  v1::BlockPayload* added = message->add_blocks();
  added->set_block(block);
  added->set_payload(std::move(payload));
  if (codec != message->codec()) added->set_codec(codec);
}

}  // namespace gradwire
