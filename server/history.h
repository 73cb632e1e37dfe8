// SPDX-License-Identifier: Apache-2.0
// The server's replica, its log and its snapshots: where an update becomes part of the model.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/replica/job.h"
#include "common/replica/replica.h"
#include "common/replica/update_log.h"
#include "server/snapshots.h"
#include "server/update_maker.h"

namespace gradwire {

// Not thread-safe, but for log().
class History {
 public:
  static absl::StatusOr<std::unique_ptr<History>> Create(std::shared_ptr<const Job> job,
                                                         const std::string& state_dir,
                                                         size_t max_log_bytes);

  // Appends the record, applies it, and takes a snapshot when one is due.
  absl::Status Commit(uint64_t version, MadeUpdate update);

  absl::Status SaveSnapshot();
  absl::Status SaveFinal() const { return snapshots_->SaveFinal(replica_); }

  const UpdateLog& log() const { return log_; }
  const Replica& replica() const { return replica_; }
  const Snapshots& snapshots() const { return *snapshots_; }

  // The replica's hash, when its version is one at which replicas are compared.
  const uint64_t* comparable_hash() const { return has_hash_ ? &hash_ : nullptr; }

 private:
  History(std::shared_ptr<const Job> job, std::unique_ptr<Snapshots> snapshots,
          size_t max_log_bytes)
      : job_(job),
        max_log_bytes_(max_log_bytes),
        snapshots_(std::move(snapshots)),
        replica_(std::move(job)) {}

  const std::shared_ptr<const Job> job_;
  const size_t max_log_bytes_;
  const std::unique_ptr<Snapshots> snapshots_;
  Replica replica_;
  UpdateLog log_;
  bool has_hash_ = false;
  uint64_t hash_ = 0;
  size_t bytes_since_snapshot_ = 0;
};

}  // namespace gradwire
