// SPDX-License-Identifier: Apache-2.0
// How much memory a job needs, by its terms, and how much there is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/replica/job.h"

namespace gradwire {

// A sum that can be shown.
class MemoryNeed {
 public:
  struct Term {
    std::string name;
    uint64_t bytes = 0;
  };

  // Nothing when `bytes` is 0.
  void Add(absl::string_view name, uint64_t bytes);
  uint64_t total() const;
  uint64_t operator[](absl::string_view name) const;  // 0: no such term
  std::string Text() const;  // "parameters 400 MB + optimizer state 800 MB"

 private:
  std::vector<Term> terms_;
};

// What every replica keeps: "parameters", "optimizer state" (EF21's mean with it), "bases".
void AddReplica(const Job& job, MemoryNeed* need);

// About so long is a whole payload: that of standard normal gradients, for a codec whose payloads
// depend on the values.
uint64_t PayloadBytes(const Job& job);

struct MemoryLimit {
  uint64_t bytes = UINT64_MAX;
  std::string source;  // where it is from, for messages
};

// "auto": the least memory.max of this process's control group and those around it (version 1:
// memory.limit_in_bytes), or the machine's memory where that is less.  "none"; or a number of
// bytes, or of KB, MB, GB, KiB, MiB or GiB, as 16GiB.  InvalidArgument: none of these.  `root` is
// put before the system's paths.
absl::StatusOr<MemoryLimit> ParseMemoryLimit(absl::string_view text, const std::string& root = "");

// InvalidArgument, with the sum and what can be done, when the need is beyond the limit.
absl::Status CheckMemory(absl::string_view who, const MemoryNeed& need, const MemoryLimit& limit);

}  // namespace gradwire
