// SPDX-License-Identifier: Apache-2.0
// Implementation of job_shard.h.
#include "common/replica/job_shard.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

// Where shard `index` begins: no block is cut, and none is left without blocks.
size_t FirstBlock(const Layout& layout, size_t index, size_t count) {
  if (index == 0) return 0;
  if (index == count) return layout.blocks();
  const size_t wanted = layout.dimension() * index / count;
  size_t block = FirstBlock(layout, index - 1, count) + 1;
  const size_t last = layout.blocks() - (count - index);
  const auto distance = [&](size_t b) {
    const size_t offset = layout.block_offset(b);
    return offset < wanted ? wanted - offset : offset - wanted;
  };
  while (block < last && distance(block + 1) <= distance(block)) ++block;
  return block;
}

absl::Status NeedsTheWhole(absl::string_view field, absl::string_view value,
                           absl::string_view remedy) {
  return absl::InvalidArgumentError(absl::StrCat(
      field, ": \"", value, "\" needs the whole vector or one server's decision in ",
      "every step, and does not go with more than one shard; ", remedy, ", or use one server"));
}

// Each sees only its own blocks.
absl::Status CheckFits(const Job& job) {
  const v1::JobConfig& config = job.config;
  if (config.consistency() != v1::SYNC) {
    return NeedsTheWhole("consistency", v1::Consistency_Name(config.consistency()), "choose SYNC");
  }
  if (config.lag() > 0) return NeedsTheWhole("lag", absl::StrCat(config.lag()), "choose 0");
  if (job.keeps_no_log()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "log: \"", config.log(), "\" does not go with more than one shard, which find ",
        "a common version by their logs; choose full, or use one server"));
  }
  if (job.clip.kind == Clip::Kind::kNorm) {
    return NeedsTheWhole("clip", config.clip(), "choose value:LIMIT or none");
  }
  if (config.max_norm_factor() != 0) {
    return NeedsTheWhole("max_norm_factor", absl::StrCat(config.max_norm_factor()), "leave it out");
  }
  if (job.looks_at_norms()) {
    return NeedsTheWhole("aggregator", config.aggregator(),
                         "choose trimmed_mean, coordinate_median or mean");
  }
  const Perturbation::Kind noise = job.perturbation.kind;
  if (noise == Perturbation::Kind::kOnDemand || noise == Perturbation::Kind::kSphere) {
    return NeedsTheWhole("perturbation", config.perturbation(), "choose gaussian or none");
  }
  if (job.reset.action != ResidualReset::Action::kNone) {
    return NeedsTheWhole("reset", config.reset(), "choose none");
  }
  if (job.keeps_mean) {
    return NeedsTheWhole("error_feedback", config.error_feedback(), "choose classic or none");
  }
  for (const BlockPlan& plan : job.plans) {
    if (plan.traits.needs_norm) {
      return NeedsTheWhole("codec", config.codec(), "choose it without clipping by norm");
    }
  }
  return absl::OkStatus();
}

}  // namespace

BlockRange BlocksOfShard(const Layout& layout, const Shard& shard) {
  return {.first = FirstBlock(layout, shard.index, shard.count),
          .end = FirstBlock(layout, shard.index + 1, shard.count)};
}

absl::Status CutToShard(const Shard& shard, Job* job) {
  if (shard.count > Shard::kMaxCount || shard.index >= shard.count) {
    return ParseShard(ShardText(shard)).status();
  }
  if (shard.count > job->layout.blocks()) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard ", ShardText(shard), ": the job has ", job->layout.blocks(),
                     " blocks (of up to ", kBlockSize, " parameters), too few for ", shard.count,
                     " shards, each of which needs one; use at most ", job->layout.blocks()));
  }
  GRADWIRE_RETURN_IF_ERROR(CheckFits(*job));
  const BlockRange range = BlocksOfShard(job->layout, shard);
  job->shard = shard;
  job->layout.Keep(range.first, range.end);
  job->plans.resize(range.end);
  job->plans.erase(job->plans.begin(), job->plans.begin() + static_cast<ptrdiff_t>(range.first));
  const size_t basis_begin = job->plans.front().basis_offset;
  for (BlockPlan& plan : job->plans) plan.basis_offset -= basis_begin;
  return absl::OkStatus();
}

}  // namespace gradwire
