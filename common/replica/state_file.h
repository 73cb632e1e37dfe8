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
#include "absl/types/span.h"

namespace gradwire {

struct StateFile {
  std::string kind;  // "server", "worker": a reader takes only its own
  std::map<std::string, std::string> texts;
  std::map<std::string, std::vector<float>> floats;
  std::map<std::string, std::vector<double>> doubles;

  // For encoding alone, among the others: long vectors that stay where they are, in pieces.
  std::map<std::string, std::vector<absl::Span<const float>>> float_views = {};
  std::map<std::string, absl::Span<const double>> double_views = {};
};

// A function of the contents alone: equal states, equal bytes.
std::string EncodeStateFile(const StateFile& state);

// The same bytes in pieces, without a copy of the vectors.  What the state's views show must stay
// as it is.
class StatePieces {
 public:
  explicit StatePieces(StateFile state);
  StatePieces(const StatePieces&) = delete;
  StatePieces& operator=(const StatePieces&) = delete;

  absl::Span<const absl::string_view> pieces() const { return pieces_; }

 private:
  void Copy(absl::string_view bytes) { own_.back().append(bytes.data(), bytes.size()); }
  void Show(absl::string_view bytes);  // without a copy, when it is long
  template <typename Value>
  void AddList(const std::map<std::string, Value>& list);
  void AddValue(const std::string* text);
  template <typename Number>
  void AddValue(const std::vector<absl::Span<const Number>>& parts);
  void Seal(size_t head_bytes);

  const StateFile state_;
  // own_[0] shown_[0] own_[1] ... are the bytes.
  std::vector<std::string> own_;
  std::vector<absl::string_view> shown_;
  std::vector<absl::string_view> pieces_;
};

// Any byte string is decoded in full or refused: DataLoss when it is damaged (any single bit),
// InvalidArgument when it is whole but of another kind.  Nothing but the checksum says that the
// values make sense: that is for the caller.
absl::StatusOr<StateFile> DecodeStateFile(absl::string_view bytes, absl::string_view kind);

}  // namespace gradwire
