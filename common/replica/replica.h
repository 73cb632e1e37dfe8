// SPDX-License-Identifier: Apache-2.0
// The replica: parameters and optimizer state at a version.  Server and
// workers hold the same class, and nothing else changes parameters.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/hash.h"
#include "common/replica/job.h"
#include "common/replica/update_log.h"
#include "common/replica/update_part.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

// Not thread-safe.
class Replica {
 public:
  using BlockDone = std::function<void(size_t block)>;

  // At version 0 before its record: parameters from the seed, state zero.  The parameters are kept
  // in `home`, which has the layout's dimension() values and outlives the replica, unless it is
  // empty.
  explicit Replica(std::shared_ptr<const Job> job, absl::Span<float> home = {});
  Replica(Replica&&) = default;
  Replica(const Replica&) = delete;
  Replica& operator=(const Replica&) = delete;

  // True once record 0 has been applied, or a snapshot was loaded.
  bool started() const { return started_; }
  uint64_t version() const { return version_; }
  const ChainHash& chain_hash() const { return chain_hash_; }  // all zero before record 0
  // Of the newest record: members and learning rate of the next step.  Empty after a
  // snapshot of an early build was loaded, until the next record.
  const v1::Header& header() const { return header_; }

  absl::Span<const float> parameters() const { return parameters_; }
  // Job::state_vectors(), Optimizer::state_scalars(), and the bases of all blocks.
  absl::Span<const std::vector<float>> state() const { return state_; }
  absl::Span<const double> scalars() const { return scalars_; }
  absl::Span<const float> bases() const { return bases_; }
  // The key of a block of a step that starts from these bases.
  BlockKey KeyAt(uint64_t step, size_t block) const;
  // A block of an update of that step, before AsyncAnswer.weight.  InvalidArgument: its payload is
  // damaged.
  absl::Status Decode(uint64_t step, size_t block, absl::string_view payload, bool flushed,
                      BlockValues* update) const;
  uint64_t applied() const { return applied_; }  // updates that had payloads in them
  uint64_t reset_id() const { return reset_id_; }
  const std::shared_ptr<const Job>& job() const { return job_; }

  // Checks everything - version, the chain hash before it, every block's payload - before it
  // changes anything.  FailedPrecondition: not the next record of this history.
  // InvalidArgument: damaged, with block, value and limit.  `block_done` is called for each block
  // in turn, when its parameters and state are those of the new version.
  absl::Status Apply(const Record& record, const BlockDone& block_done = nullptr);

  // A hash of block hashes (xxh3-64) of the parameters, and the same of
  // parameters and everything else that the replica keeps.
  uint64_t ParametersHash() const;
  uint64_t Hash() const;

  // For snapshots: takes over parameters, state and the point.
  struct Contents {
    uint64_t version = 0;
    ChainHash chain_hash = {};
    uint64_t applied = 0;
    std::vector<float> parameters = {};
    std::vector<std::vector<float>> state = {};
    std::vector<double> scalars = {};
    std::vector<float> bases = {};
    uint64_t reset_id = 0;
    v1::Header header = {};
  };
  // InvalidArgument when sizes do not fit the job.
  absl::Status Load(Contents contents);

 private:
  // What is in a record; payloads lie in its parts.
  struct Update {
    v1::Header header;
    std::vector<BlockView> blocks;
    bool large = false;  // worth spreading over the cores
  };
  absl::Status CheckParts(const Record& record, Update* update) const;
  absl::Status CheckBlocks(uint64_t version, const Update& update) const;
  absl::Status CheckPayloads(uint64_t version, const Update& update) const;
  absl::Status CheckBlock(uint64_t step, const BlockView& block, bool flushed,
                          BlockValues* scratch) const;
  absl::Span<float> BlockOf(absl::Span<float> values, size_t block) const;
  void ApplyBlocks(uint64_t version, const Update& update, const BlockDone& block_done);
  void ApplyBlock(const StepContext& context, const BlockView& block, const v1::Header& header,
                  BlockValues* values);
  void Perturb(uint64_t step, float scale);
  void ForgetMean();

  const std::shared_ptr<const Job> job_;
  bool started_ = false;
  uint64_t version_ = 0;
  uint64_t applied_ = 0;
  ChainHash chain_hash_ = {};
  uint64_t reset_id_ = 0;
  v1::Header header_;
  std::vector<float> own_;  // parameters, without a home for them
  absl::Span<float> parameters_;
  std::vector<std::vector<float>> state_;
  std::vector<double> scalars_;
  std::vector<float> bases_;
};

}  // namespace gradwire
