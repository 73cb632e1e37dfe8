// SPDX-License-Identifier: Apache-2.0
// A record of any parts: applied whole, or refused with nothing changed.
//
//   input = job *part         ; job: one byte that chooses among kJobs
//   part  = length bytes      ; length: u16, little-endian, cut to what is left
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "common/base/little_endian.h"
#include "common/replica/replica.h"

namespace {

constexpr const char* kJobs[] = {
    "codec: 'identity' optimizer: 'sgd:0.1,0.9'",
    "codec: 'random_k:0.1'",
    "codec: 'top_k:0.1,values=bf16'",
};

std::shared_ptr<const gradwire::Job> MakeFuzzedJob(const char* choice) {
  auto config = gradwire::ParseJobText(
      std::string("model { tensors { tensor { name: 'w' shape: 40 } } } steps: 9 ") + choice);
  if (!config.ok()) std::abort();
  auto job = gradwire::MakeJob(*std::move(config));
  if (!job.ok()) std::abort();
  return *std::move(job);
}

std::vector<std::string> Split(const uint8_t* data, size_t size) {
  std::vector<std::string> parts;
  while (size >= 2) {
    const auto* bytes = reinterpret_cast<const char*>(data);
    const size_t length = std::min<size_t>(gradwire::LoadLittleEndian<uint16_t>(bytes), size - 2);
    parts.emplace_back(bytes + 2, length);
    data += 2 + length;
    size -= 2 + length;
  }
  return parts;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const jobs = new std::vector<std::shared_ptr<const gradwire::Job>>{
      MakeFuzzedJob(kJobs[0]), MakeFuzzedJob(kJobs[1]), MakeFuzzedJob(kJobs[2])};
  if (size == 0) return 0;
  gradwire::Replica replica((*jobs)[data[0] % jobs->size()]);
  const std::vector<std::string> parts = Split(data + 1, size - 1);
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
