// SPDX-License-Identifier: Apache-2.0
// The two hashes that gradwire compares: xxh3-64 of values, xxh3-128 of records.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace gradwire {

// xxh3-64 of the bytes.
uint64_t Hash64(absl::string_view bytes);
// Of the values' little-endian bytes.
uint64_t Hash64(absl::Span<const float> values);
uint64_t Hash64(absl::Span<const uint64_t> values);
// Of several byte strings as if they were one.
uint64_t Hash64(absl::Span<const absl::string_view> pieces);

// "xxh3:" and 16 hexadecimal digits, as programs print hashes.
std::string HashText(uint64_t hash);

// Names a point of a job's history, together with its version.  The bytes are
// xxh3-128 in canonical (big-endian) order.
using ChainHash = std::array<char, 16>;

inline absl::string_view AsView(const ChainHash& hash) { return {hash.data(), hash.size()}; }
std::string HashText(const ChainHash& hash);
// HashText of a chain hash read back: 32 lower-case hexadecimal digits.
std::optional<ChainHash> ParseChainHash(absl::string_view text);

// xxh3-128 of several byte strings as if they were one.
class ChainHasher {
 public:
  ChainHasher();
  ~ChainHasher();
  void Add(absl::string_view bytes);
  ChainHash Finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gradwire
