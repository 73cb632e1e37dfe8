// SPDX-License-Identifier: Apache-2.0
// Implementation of target.h on Highway's run-time dispatch.
#include "common/kernels/target.h"

#include <atomic>
#include <cstdint>

#include "common/kernels/simd_targets.h"
// Highway's headers come last: they read the list above.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hwy/highway.h"

namespace gradwire {
namespace {

struct Target {
  const char* name;
  int64_t highway;  // bit of HWY_TARGETS; 0: our own loops
};

constexpr Target kTargets[] = {
    // worst first
    {"scalar", 0}, {"sse4", HWY_SSE4}, {"avx2", HWY_AVX2}, {"avx512", HWY_AVX3}, {"neon", HWY_NEON},
};

// Of kTargets, what this processor has and this build was compiled for.
std::vector<const Target*> FindTargets() {
  const int64_t usable = hwy::SupportedTargets() & HWY_TARGETS;
  std::vector<const Target*> found;
  for (const Target& target : kTargets) {
    if (target.highway == 0 || (usable & target.highway) != 0) found.push_back(&target);
  }
  return found;
}

// Asked once, before anything is forced: forcing changes what Highway answers.
const std::vector<const Target*>& Available() {
  static const std::vector<const Target*>* const available =
      new std::vector<const Target*>(FindTargets());
  return *available;
}

std::atomic<const Target*>& Chosen() {
  static std::atomic<const Target*> chosen(Available().back());
  return chosen;
}

}  // namespace

std::vector<std::string> KernelTargets() {
  std::vector<std::string> names;
  for (const Target* target : Available()) names.emplace_back(target->name);
  return names;
}

absl::Status SetKernelTarget(absl::string_view name) {
  const Target* wanted = nullptr;
  for (const Target* target : Available()) {
    if (name == "auto" || name == target->name) wanted = target;
  }
  if (wanted == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("kernel target \"", name,
                                                   "\": this processor has auto, ",
                                                   absl::StrJoin(KernelTargets(), ", ")));
  }
  hwy::SetSupportedTargetsForTest(wanted->highway);  // 0 gives the choice back to Highway
  Chosen().store(wanted, std::memory_order_relaxed);
  return absl::OkStatus();
}

std::string KernelTarget() { return Chosen().load(std::memory_order_relaxed)->name; }

bool UseScalarKernels() { return Chosen().load(std::memory_order_relaxed)->highway == 0; }

}  // namespace gradwire
