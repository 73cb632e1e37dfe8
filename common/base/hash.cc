// SPDX-License-Identifier: Apache-2.0
// Implementation of hash.h on libxxhash.
#include "common/base/hash.h"

#include <xxhash.h>

#include <cstring>
#include <memory>
#include <new>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace gradwire {

uint64_t Hash64(absl::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

uint64_t Hash64(absl::Span<const float> values) {
  return XXH3_64bits(values.data(), values.size() * sizeof(float));
}

uint64_t Hash64(absl::Span<const uint64_t> values) {
  return XXH3_64bits(values.data(), values.size() * sizeof(uint64_t));
}

uint64_t Hash64(absl::Span<const absl::string_view> pieces) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  if (state == nullptr) throw std::bad_alloc();
  XXH3_64bits_reset(state.get());
  for (const absl::string_view piece : pieces) {
    XXH3_64bits_update(state.get(), piece.data(), piece.size());
  }
  return XXH3_64bits_digest(state.get());
}

std::string HashText(uint64_t hash) {
  return absl::StrCat("xxh3:", absl::Hex(hash, absl::kZeroPad16));
}

std::string HashText(const ChainHash& hash) { return absl::BytesToHexString(AsView(hash)); }

std::optional<ChainHash> ParseChainHash(absl::string_view text) {
  ChainHash hash;
  const bool digits = text.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
  if (!digits || text.size() != 2 * hash.size()) return std::nullopt;
  const std::string bytes = absl::HexStringToBytes(text);
  std::memcpy(hash.data(), bytes.data(), hash.size());
  return hash;
}

struct ChainHasher::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

ChainHasher::ChainHasher() : state_(new State) {
  if (state_->xxh == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_->xxh);
}
ChainHasher::~ChainHasher() = default;

void ChainHasher::Add(absl::string_view bytes) {
  XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
}

ChainHash ChainHasher::Finish() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_->xxh));
  ChainHash hash;
  static_assert(sizeof(hash) == sizeof(canonical));
  std::memcpy(hash.data(), &canonical, sizeof(hash));
  return hash;
}

}  // namespace gradwire
