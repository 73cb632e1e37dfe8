// SPDX-License-Identifier: Apache-2.0
// A state file of any bytes, as they are and under a right checksum: what is taken is written
// back as it was read.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "common/base/hash.h"
#include "common/replica/state_file.h"

namespace {

constexpr size_t kHashOffset = 16;
constexpr size_t kHashEnd = 32;

void Check(const std::string& bytes) {
  for (const char* kind : {"worker", "server", ""}) {
    const auto state = gradwire::DecodeStateFile(bytes, kind);
    if (state.ok() && gradwire::EncodeStateFile(*state) != bytes) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  Check(bytes);
  if (size < kHashEnd) return 0;
  gradwire::ChainHasher hasher;
  hasher.Add(absl::string_view(bytes).substr(0, kHashOffset));
  hasher.Add(absl::string_view(bytes).substr(kHashEnd));
  bytes.replace(kHashOffset, kHashEnd - kHashOffset,
                std::string(gradwire::AsView(hasher.Finish())));
  Check(bytes);
  return 0;
}
