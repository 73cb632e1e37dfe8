// SPDX-License-Identifier: Apache-2.0
// What the writer and the reader of snapshots must agree on: see snapshot.h for the grammar.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/replica/job.h"

namespace gradwire {

inline constexpr char kMetadataKey[] = "__metadata__";
inline constexpr char kVersionKey[] = "gradwire.version";
inline constexpr char kAppliedKey[] = "gradwire.applied";
inline constexpr char kResetKey[] = "gradwire.reset_id";
inline constexpr char kRevisionKey[] = "gradwire.apply_revision";
inline constexpr char kChainHashKey[] = "gradwire.chain_hash";
inline constexpr char kSchemaHashKey[] = "gradwire.schema_hash";
inline constexpr char kHeaderKey[] = "gradwire.header";
inline constexpr char kJobKey[] = "gradwire.job";
inline constexpr char kShardKey[] = "gradwire.shard";

// A tensor of the file, in file order; offsets count from the beginning of the data.
struct SnapshotTensor {
  std::string name;
  const char* dtype = "F32";
  std::vector<uint64_t> shape;
  size_t begin = 0;
  size_t end = 0;
};

// Parameters, then (with_state) every state vector, scalars and bases, without gaps.
std::vector<SnapshotTensor> SnapshotTensors(const Job& job, bool with_state);

}  // namespace gradwire
