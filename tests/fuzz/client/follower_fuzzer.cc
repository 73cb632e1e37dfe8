// SPDX-License-Identifier: Apache-2.0
// The worker's way down, fed with any parts: a part is taken, or the replica stays as it was.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

#include "tests/fuzz/record_input.h"
#include "worker/client/follower.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  gradwire::Follower follower(gradwire_fuzz::ChooseJob(data[0]));
  gradwire::v1::UpdatePart first;
  first.mutable_header();
  if (data[0] >= 128 && !follower.Take(first.SerializeAsString()).ok()) std::abort();
  for (std::string& part : gradwire_fuzz::SplitParts(data + 1, size - 1)) {
    const bool started = follower.replica().started();
    const uint64_t version = follower.replica().version();
    const uint64_t hash = follower.replica().Hash();
    const auto applied = follower.Take(std::move(part));
    const gradwire::Replica& replica = follower.replica();
    if (applied.ok() && *applied) {
      if (started && replica.version() != version + 1) std::abort();
    } else if (replica.version() != version || replica.Hash() != hash) {
      std::abort();
    }
  }
  return 0;
}
