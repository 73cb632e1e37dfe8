// SPDX-License-Identifier: Apache-2.0
// A small container for the state of a process: texts and vectors by name.
//
//   file    = magic body_size hash kind_size kind body
//   magic   = "GWSTATE1", 8 bytes
//   hash    = xxh3-128, canonical, of all else: magic, body_size and everything after the hash
//   kind    = what the file is for, kind_size (u32) bytes
//   body    = texts floats doubles, body_size (u64) bytes
//   texts   = count (u32), then count times: name size (u64) bytes
//   floats  = count (u32), then count times: name values (u64) float32 values
//   doubles = count (u32), then count times: name values (u64) float64 values
//   name    = size (u32) bytes; names of one list ascend
//
// Numbers are little-endian; nothing is padded; the file ends with the body.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwire {

struct StateFile {
  std::string kind;  // "server", "worker": a reader takes only its own
  std::map<std::string, std::string> texts;
  std::map<std::string, std::vector<float>> floats;
  std::map<std::string, std::vector<double>> doubles;
};

// A function of the contents alone: equal states, equal bytes.
std::string EncodeStateFile(const StateFile& state);

// Any byte string is decoded in full or refused: DataLoss when it is damaged (any single bit),
// InvalidArgument when it is whole but of another kind.  Nothing but the checksum says that the
// values make sense: that is for the caller.
absl::StatusOr<StateFile> DecodeStateFile(absl::string_view bytes, absl::string_view kind);

}  // namespace gradwire
