// SPDX-License-Identifier: Apache-2.0
// A record of any parts: applied whole, or refused with nothing changed.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/replica/replica.h"
#include "tests/fuzz/record_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  gradwire::Replica replica(gradwire_fuzz::ChooseJob(data[0]));
  const std::vector<std::string> parts = gradwire_fuzz::SplitParts(data + 1, size - 1);
  // First as record 0, then as record 1 behind an empty record 0.
  gradwire::v1::UpdatePart first;
  first.mutable_header();
  for (const uint64_t version : {uint64_t{0}, uint64_t{1}}) {
    const auto record = gradwire::MakeRecord(version, parts);
    const uint64_t hash = replica.Hash();
    const gradwire::ChainHash chain_hash = replica.chain_hash();
    const bool applied = replica.Apply(*record).ok();
    if (!applied && (replica.Hash() != hash || replica.chain_hash() != chain_hash)) std::abort();
    if (applied && replica.chain_hash() != record->chain_hash) std::abort();
    if (replica.started()) continue;
    if (!replica.Apply(*gradwire::MakeRecord(0, {first.SerializeAsString()})).ok()) std::abort();
  }
  return 0;
}
