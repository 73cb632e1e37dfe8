// SPDX-License-Identifier: Apache-2.0
// Implementation of join_limiter.h.
#include "server/join_limiter.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace gradwire {
namespace {

double Filled(double left, absl::Duration since) {
  return std::min(JoinLimiter::kBurst,
                  left + absl::ToDoubleSeconds(since) * JoinLimiter::kPerSecond);
}

}  // namespace

absl::Status JoinLimiter::Admit(absl::string_view peer) {
  const absl::Duration now = clock_->Now();
  std::string host(peer.substr(0, peer.rfind(':')));
  MutexLock lock(&mu_);
  if (buckets_.size() >= kMaxHosts && buckets_.count(host) == 0) {
    DropFull(now);
    if (buckets_.size() >= kMaxHosts) host = "";
  }
  Bucket& bucket = buckets_.try_emplace(host, Bucket{kBurst, now}).first->second;
  bucket.left = Filled(bucket.left, now - bucket.at);
  bucket.at = now;
  if (bucket.left < 1) {
    return absl::ResourceExhaustedError(
        absl::StrCat("more than ", kPerSecond, " joins a second from ",
                     host.empty() ? "this and other machines" : host, "; try later"));
  }
  bucket.left -= 1;
  return absl::OkStatus();
}

// Those who did not come for long: a new bucket would be as full.
void JoinLimiter::DropFull(absl::Duration now) {
  for (auto it = buckets_.begin(); it != buckets_.end();) {
    const bool full = Filled(it->second.left, now - it->second.at) >= kBurst;
    it = full ? buckets_.erase(it) : std::next(it);
  }
}

}  // namespace gradwire
