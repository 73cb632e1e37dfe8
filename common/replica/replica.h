// SPDX-License-Identifier: Apache-2.0
// The replica: parameters and optimizer state at a version.  Server and
// workers hold the same class, and nothing else changes parameters.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/hash.h"
#include "common/replica/job.h"
#include "common/replica/update_log.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

// Not thread-safe.
class Replica {
 public:
  // At version 0 before its record: parameters from the seed, state zero.
  explicit Replica(std::shared_ptr<const Job> job);

  // True once record 0 has been applied, or a snapshot was loaded.
  bool started() const { return started_; }
  uint64_t version() const { return version_; }
  const ChainHash& chain_hash() const { return chain_hash_; }  // all zero before record 0
  // Of the newest record: members and learning rate of the next step.  Empty after a
  // snapshot was loaded, until the next record.
  const v1::Header& header() const { return header_; }

  absl::Span<const float> parameters() const { return parameters_; }
  absl::Span<const std::vector<float>> state() const { return state_; }
  uint64_t applied() const { return applied_; }  // updates that had payloads in them
  const std::shared_ptr<const Job>& job() const { return job_; }

  // Checks everything - version, chain hash, every block's payload - before it
  // changes anything.  FailedPrecondition: not the next record of this history.
  // InvalidArgument: damaged, with block, value and limit.
  absl::Status Apply(const Record& record);

  // A hash of block hashes (xxh3-64) of the parameters, and the same of
  // parameters and optimizer state.
  uint64_t ParametersHash() const;
  uint64_t Hash() const;

  // For snapshots: takes over parameters, state and the point.
  struct Contents {
    uint64_t version = 0;
    ChainHash chain_hash = {};
    uint64_t applied = 0;
    std::vector<float> parameters;
    std::vector<std::vector<float>> state;
  };
  // InvalidArgument when sizes do not fit the job.
  absl::Status Load(Contents contents);

 private:
  absl::Status CheckParts(const Record& record, std::vector<v1::UpdatePart>* parts) const;
  absl::Status CheckBlocks(const std::vector<v1::UpdatePart>& parts) const;
  void ApplyBlocks(const std::vector<v1::UpdatePart>& parts);

  const std::shared_ptr<const Job> job_;
  bool started_ = false;
  uint64_t version_ = 0;
  uint64_t applied_ = 0;
  ChainHash chain_hash_ = {};
  v1::Header header_;
  std::vector<float> parameters_;
  std::vector<std::vector<float>> state_;
};

}  // namespace gradwire
