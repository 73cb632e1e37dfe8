// SPDX-License-Identifier: Apache-2.0
// Writes UpdateParts: the bytes that protobuf would serialise, without a copy of the payloads in a
// protobuf message before.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

// Fills parts up to the limits of a message (common/rpc/limits.h).
class PartWriter {
 public:
  explicit PartWriter(uint64_t version) : version_(version) {}

  void Add(uint32_t block, v1::CodecId codec, absl::string_view payload);
  // All parts, the last with the header.  Once.
  std::vector<std::string> Finish(const v1::Header& header);

  size_t payload_bytes() const { return payload_bytes_; }  // in all parts

 private:
  void Begin(v1::CodecId codec, size_t bytes);
  void Flush();

  const uint64_t version_;
  std::vector<std::string> parts_;
  std::string part_;  // the open one; empty before its first field
  v1::CodecId codec_ = v1::CODEC_UNSPECIFIED;
  size_t blocks_in_part_ = 0;
  size_t bytes_in_part_ = 0;  // of payloads
  size_t payload_bytes_ = 0;
};

}  // namespace gradwire
