// SPDX-License-Identifier: Apache-2.0
// The worker's way down: collects the parts of each record and applies it to the
// worker's replica.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/replica/job.h"
#include "common/replica/replica.h"

namespace gradwire {

// Not thread-safe.
class Follower {
 public:
  // At version 0, before record 0.  `home` is for the parameters, as of Replica.
  explicit Follower(std::shared_ptr<const Job> job, absl::Span<float> home = {});

  // Takes the next serialised UpdatePart.  True when it completed a record, which was then
  // applied.  After an error the parts of the open record are dropped and the replica
  // is as before: InvalidArgument for bytes that are not an UpdatePart or a record beyond its
  // limits, FailedPrecondition for another version than the next, and what Replica::Apply says.
  absl::StatusOr<bool> Take(std::string part);

  // A stream broke: the open record comes again from its first part.
  void DropOpenRecord();

  // Takes over a snapshot; InvalidArgument when it does not fit the job, with nothing changed.
  absl::Status Load(Replica::Contents contents);
  // Back to version 0, before record 0.
  void Restart();

  const Replica& replica() const { return *replica_; }
  // Of the payloads in all parts taken so far.
  uint64_t payload_bytes() const { return payload_bytes_; }

 private:
  absl::StatusOr<bool> TakePart(std::string part);

  const std::shared_ptr<const Job> job_;
  const absl::Span<float> home_;
  std::unique_ptr<Replica> replica_;
  std::vector<std::string> parts_;  // of the open record
  size_t parts_bytes_ = 0;
  uint64_t payload_bytes_ = 0;
};

}  // namespace gradwire
