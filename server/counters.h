// SPDX-License-Identifier: Apache-2.0
// What a server counts.
#pragma once

#include <atomic>
#include <cstdint>

namespace gradwire {

class Counter {
 public:
  void Add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
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
  Counter payloads_refused;
  Counter payloads_abstained;
  Counter payloads_too_large;  // left out by max_norm_factor
};

}  // namespace gradwire
