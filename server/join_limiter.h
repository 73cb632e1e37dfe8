// SPDX-License-Identifier: Apache-2.0
// How often one machine may ask to join: a flood of joins must not keep the others waiting.
#pragma once

#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace gradwire {

// A bucket of kBurst joins for each host, filled at kPerSecond.  Thread-safe.
class JoinLimiter {
 public:
  static constexpr double kBurst = 1024;  // a whole cluster behind one address starts at once
  static constexpr double kPerSecond = 50;
  static constexpr size_t kMaxHosts = 4096;  // hosts beyond that share a bucket

  // `clock` must outlive it.
  explicit JoinLimiter(const Clock* clock) : clock_(clock) {}

  // `peer` as gRPC names it, "ipv4:1.2.3.4:567".  ResourceExhausted: too many; try later.
  absl::Status Admit(absl::string_view peer) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Bucket {
    double left = kBurst;
    absl::Duration at;
  };
  void DropFull(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Clock* const clock_;
  Mutex mu_;
  std::map<std::string, Bucket> buckets_ ABSL_GUARDED_BY(mu_);
};

}  // namespace gradwire
