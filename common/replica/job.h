// SPDX-License-Identifier: Apache-2.0
// A job, read and checked: the configuration with its defaults filled in and
// the parts that it names made.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/aggregate/aggregator.h"
#include "common/codec/codec.h"
#include "common/codec/feedback.h"
#include "common/optimizer/clip.h"
#include "common/optimizer/optimizer.h"
#include "common/optimizer/perturbation.h"
#include "common/optimizer/schedule.h"
#include "common/replica/block_plan.h"
#include "common/replica/layout.h"
#include "common/replica/shard.h"
#include "gradwire/v1/job.pb.h"

namespace gradwire {

// Raised with any change in the bits that apply gives; another revision is refused.
inline constexpr uint32_t kApplyRevision = 1;

inline constexpr char kSnapshotsOnly[] = "snapshots_only";  // JobConfig.log

// Immutable; shared by everything that works on the job.
struct Job {
  v1::JobConfig config;  // defaults filled in
  Shard shard;           // of which layout and plans are; the rest is the whole job's
  Layout layout;
  CodecChoice codecs;
  std::vector<BlockPlan> plans;  // one a block
  std::unique_ptr<Codec> dense;  // identity: what a flush is sent with
  std::unique_ptr<Optimizer> optimizer;
  std::vector<std::unique_ptr<Schedule>> schedule;
  Perturbation perturbation;
  ErrorFeedback feedback;
  ResidualReset reset;
  Clip clip;
  std::unique_ptr<Aggregator> aggregator;  // null: the codecs' own mean
  bool remembers = false;    // workers keep something between steps: a residual or a momentum
  bool keeps_mean = false;   // the last of state_vectors() is EF21's mean
  uint64_t schema_hash = 0;  // of tensors, codecs, feedback, optimizer, seed and kApplyRevision

  // What every replica keeps beside the parameters, by the names that snapshots use: the
  // optimizer's vectors, and the mean of gradients where the feedback is EF21's.
  std::vector<StateVector> state_vectors() const;
  size_t basis_size() const;  // of all blocks

  // The server keeps snapshots, but no updates on disk.
  bool keeps_no_log() const { return config.log() == kSnapshotsOnly; }

  // All payloads of a step are in before the first is used.
  bool keeps_payloads() const {
    return config.consistency() == v1::QUORUM || aggregator != nullptr || looks_at_norms();
  }
  // Somebody asks for the norm of each payload.
  bool looks_at_norms() const {
    return config.max_norm_factor() > 0 ||
           (aggregator != nullptr && aggregator->traits().needs_norms);
  }

  // Coordinates of a block's key; basis, rank and unit are the caller's.
  BlockKey Key(uint64_t step, size_t block) const;
  // The codec of a block's payloads, in a step that flushes residuals or not.
  const Codec& CodecOf(size_t block, bool flush) const;
  // Of the codec that the plan has, be it the job's or a tensor's.
  absl::string_view CodecName(const BlockPlan& plan) const;
};

// What a user should know before the job starts; each names the remedy.
std::vector<std::string> JobWarnings(const Job& job);

// InvalidArgument names the field, the value and what is allowed.  Of a shard: with its blocks
// only; what needs more than them is refused, by name and with the remedy.
absl::StatusOr<std::shared_ptr<const Job>> MakeJob(v1::JobConfig config, Shard shard = {});

// The factors on the learning rate.  InvalidArgument names which is wrong, and what is allowed.
absl::StatusOr<std::vector<std::unique_ptr<Schedule>>> MakeSchedules(const v1::JobConfig& config);

// By the file's ending: .textproto or .json.  Messages name the file and the line or field.
absl::StatusOr<v1::JobConfig> ReadJobFile(const std::string& path);
absl::StatusOr<v1::JobConfig> ParseJobText(absl::string_view text);
absl::StatusOr<v1::JobConfig> ParseJobJson(absl::string_view json);

// The texts that the two parsers read back to the same config.
std::string JobText(const v1::JobConfig& config);
std::string JobJson(const v1::JobConfig& config);

}  // namespace gradwire
