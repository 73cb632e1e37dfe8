// SPDX-License-Identifier: Apache-2.0
// Implementation of memory_need.h.
#include "common/replica/memory_need.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/machine.h"
#include "common/base/status_macros.h"
#include "common/random/gaussian.h"

namespace gradwire {
namespace {

std::string Megabytes(uint64_t bytes) {
  const double megabytes = static_cast<double>(bytes) / 1e6;
  return absl::StrFormat("%.*f MB", megabytes < 10 ? 1 : 0, megabytes);
}

uint64_t PayloadOf(const Codec& codec, BlockKey key) {
  std::vector<float> values(key.size);
  FillGaussians({.seed = key.seed, .purpose = Purpose::kPerturbation}, absl::MakeSpan(values));
  std::string payload;
  codec.Encode(key, absl::MakeSpan(values), &payload);
  return payload.size();
}

struct Unit {
  absl::string_view name;
  double bytes;
};
constexpr Unit kUnits[] = {{"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824},
                           {"KB", 1e3},   {"MB", 1e6},      {"GB", 1e9},
                           {"", 1}};

absl::StatusOr<uint64_t> ParseBytes(absl::string_view text) {
  for (const Unit& unit : kUnits) {
    absl::string_view number = text;
    double value = 0;
    if (!absl::ConsumeSuffix(&number, unit.name) || !absl::SimpleAtod(number, &value)) continue;
    value *= unit.bytes;
    if (value >= 1 && value < 0x1p62) return static_cast<uint64_t>(value);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--memory_limit=", text,
                   ": auto, none, or bytes are needed, with KB, MB, GB, KiB, MiB or GiB behind "
                   "them, as 16GiB"));
}

// Lowers the limit to the number in a file, if there is one: "max" is none, and what version 1 has
// for none is more than any machine.
void LowerTo(const std::string& path, MemoryLimit* limit) {
  std::ifstream file(path);
  uint64_t bytes = 0;
  if (file >> bytes && bytes < limit->bytes) *limit = {.bytes = bytes, .source = path};
}

MemoryLimit SystemLimit(const std::string& root) {
  MemoryLimit limit;
  const auto pages = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES));
  limit = {.bytes = pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)),
           .source = "the machine's memory"};
  for (const std::string& path :
       ControlGroupFiles("memory", "memory.max", "memory.limit_in_bytes", root)) {
    LowerTo(path, &limit);
  }
  return limit;
}

}  // namespace

void MemoryNeed::Add(absl::string_view name, uint64_t bytes) {
  if (bytes > 0) terms_.push_back({.name = std::string(name), .bytes = bytes});
}

uint64_t MemoryNeed::total() const {
  uint64_t total = 0;
  for (const Term& term : terms_) total += term.bytes;
  return total;
}

uint64_t MemoryNeed::operator[](absl::string_view name) const {
  for (const Term& term : terms_) {
    if (term.name == name) return term.bytes;
  }
  return 0;
}

std::string MemoryNeed::Text() const {
  return absl::StrJoin(terms_, " + ", [](std::string* out, const Term& term) {
    absl::StrAppend(out, term.name, " ", Megabytes(term.bytes));
  });
}

void AddReplica(const Job& job, MemoryNeed* need) {
  const uint64_t vector = sizeof(float) * job.layout.dimension();
  need->Add("parameters", vector);
  need->Add("optimizer state", vector * job.state_vectors().size());
  need->Add("bases", sizeof(float) * job.basis_size());
}

uint64_t PayloadBytes(const Job& job) {
  std::map<const Codec*, size_t> longest;  // block of each codec
  std::map<const Codec*, uint64_t> coordinates;
  for (size_t b = 0; b < job.plans.size(); ++b) {
    const Codec* codec = job.plans[b].codec;
    const size_t size = job.layout.block_size(b);
    coordinates[codec] += size;
    const auto found = longest.emplace(codec, b).first;
    if (job.layout.block_size(found->second) < size) found->second = b;
  }
  double bytes = 0;
  for (const auto& [codec, block] : longest) {
    std::vector<float> basis(job.plans[block].basis_size);
    BlockKey key = job.Key(1, block);
    key.basis = basis;
    bytes += static_cast<double>(PayloadOf(*codec, key)) * static_cast<double>(coordinates[codec]) /
             static_cast<double>(key.size);
  }
  return static_cast<uint64_t>(bytes);
}

absl::StatusOr<MemoryLimit> ParseMemoryLimit(absl::string_view text, const std::string& root) {
  if (text == "auto") return SystemLimit(root);
  MemoryLimit limit = {.source = "--memory_limit"};
  if (text == "none") return limit;
  GRADWIRE_ASSIGN_OR_RETURN(limit.bytes, ParseBytes(text));
  return limit;
}

absl::Status CheckMemory(absl::string_view who, const MemoryNeed& need, const MemoryLimit& limit) {
  if (need.total() <= limit.bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      who, " needs about ", Megabytes(need.total()), " of memory for this job, and the limit is ",
      Megabytes(limit.bytes), " (", limit.source, "): ", need.Text(),
      "; give it more, choose an optimizer or codec that keeps less, or set --memory_limit if you "
      "know better"));
}

}  // namespace gradwire
