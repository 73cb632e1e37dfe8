// SPDX-License-Identifier: Apache-2.0
// Records that follow one another, for tests of what keeps them: nobody could apply them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/replica/update_log.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

using Chain = std::vector<std::shared_ptr<const Record>>;

// The record after `previous` (null: record 0) of one to three parts, every other with a server
// part.  `branch` stands in it: two branches are two histories.
inline std::shared_ptr<const Record> MakeNextRecord(const Record* previous,
                                                    size_t payload_bytes = 3, char branch = 'a') {
  const uint64_t version = previous == nullptr ? 0 : previous->version + 1;
  std::vector<std::string> parts;
  for (uint32_t i = 0; i <= version % 3; ++i) {
    v1::UpdatePart part;
    part.set_version(version);
    v1::BlockPayload* block = part.add_blocks();
    block->set_block(i);
    block->set_payload(std::string(payload_bytes, branch));
    if (i == version % 3) {
      v1::Header* header = part.mutable_header();
      if (previous != nullptr) {
        header->set_previous_chain_hash(std::string(AsView(previous->chain_hash)));
      }
      header->set_learning_rate(0.5F);
    }
    parts.push_back(part.SerializeAsString());
  }
  return MakeRecord(version, std::move(parts), 0,
                    version % 2 == 1 ? absl::StrCat("server ", version) : "");
}

inline Chain MakeChain(size_t records, size_t payload_bytes = 3, char branch = 'a') {
  Chain chain;
  while (chain.size() < records) {
    chain.push_back(
        MakeNextRecord(chain.empty() ? nullptr : chain.back().get(), payload_bytes, branch));
  }
  return chain;
}

inline bool Same(const Record& a, const Record& b) {
  return a.version == b.version && a.parts == b.parts && a.chain_hash == b.chain_hash &&
         a.server_part == b.server_part && a.bytes == b.bytes;
}

}  // namespace gradwire
