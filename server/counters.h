// SPDX-License-Identifier: Apache-2.0
// What a server counts and measures.  server/admin/metrics.cc says how each is called outside.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "common/base/time_histogram.h"

namespace gradwire {

class Counter {
 public:
  void Add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// The newest value of something.
class Gauge {
 public:
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// Why a payload was refused.
enum class Refusal : size_t {
  kUnreadable,  // the message is no TrainRequest
  kStep,        // of a step that cannot be open
  kPayload,     // a block, its codec, its length or its values
  kOverflow,    // its sum with those of lower ranks is not finite
  kLeadHeader,  // of a shard after the first: shard 0's header is missing or another one
};
inline constexpr std::array<const char*, 5> kRefusalNames = {"unreadable", "step", "payload",
                                                             "overflow", "lead_header"};

class RefusalCounter {
 public:
  void Add(Refusal why) { by_reason_[static_cast<size_t>(why)].Add(); }
  uint64_t value(size_t reason) const { return by_reason_[reason].value(); }
  uint64_t value() const {
    uint64_t all = 0;
    for (const Counter& one : by_reason_) all += one.value();
    return all;
  }

 private:
  std::array<Counter, kRefusalNames.size()> by_reason_;
};

// Bytes: payload is what codecs made; wire is the messages that carry it as gRPC gets
// them, its 5-byte frame header included.
struct ServerCounters {
  Counter up_payload_bytes;
  Counter up_wire_bytes;
  Counter down_payload_bytes;
  Counter down_wire_bytes;
  Counter payloads_used;  // a worker's payload that went into an update
  Counter updates_sent;   // an update written whole to one worker; record 0 is none
  Counter payloads_late;  // of an earlier step
  Counter blocks_duplicate;
  RefusalCounter payloads_refused;
  Counter payloads_abstained;
  Counter payloads_too_large;  // left out by max_norm_factor

  Counter rounds;  // that made an update; record 0 is none
  Counter workers_joined;
  Counter workers_lost;  // before the job's end, as the next
  Counter workers_left;
  Counter resyncs;  // a worker was told to begin again from a snapshot

  // One round is waiting for payloads, then making the update of them, then writing it to the
  // log, then applying it to the server's replica.
  TimeHistogram round;
  TimeHistogram waiting;
  TimeHistogram encode;
  TimeHistogram log_append;
  TimeHistogram apply;
  TimeHistogram fsync;  // of the log, on whatever thread

  Gauge downlink_residual_norm;  // as of the newest version divisible by hash_every
  // Set by who owns the certificate: when it ends, in seconds since 1970 (0: no TLS); and how
  // often a new one could not be taken.
  Gauge tls_not_after_seconds;
  Gauge tls_reload_errors;
  Gauge calls_refused;  // unauthenticated, or without the role
};

}  // namespace gradwire
