// SPDX-License-Identifier: Apache-2.0
// Reads UpdateParts in place, as they came or lie on the log: no payload is copied into a protobuf
// message.  The format is gradient.proto's UpdatePart.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

// A block of an UpdatePart; `payload` lies within the part's bytes.
struct BlockView {
  uint32_t block = 0;
  v1::CodecId codec = v1::CODEC_UNSPECIFIED;  // the part's, where the block names none
  absl::string_view payload;
};

struct UpdatePartView {
  uint64_t version = 0;
  std::vector<BlockView> blocks;
  bool has_header = false;
  absl::string_view header;  // serialised
};

// False unless the bytes are an UpdatePart, with one header at most.
bool ReadUpdatePart(absl::string_view bytes, UpdatePartView* part);

}  // namespace gradwire
