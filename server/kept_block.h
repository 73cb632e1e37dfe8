// SPDX-License-Identifier: Apache-2.0
// What a record keeps of an aggregate, so that replay can make the update of it again.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "common/codec/codec.h"
#include "gradwire/v1/log.pb.h"

namespace gradwire {

// All bits of the values; of a sparse mean also which coordinates it names.
void KeepMean(const BlockKey& key, const BlockValues& mean, v1::ServerPart* part);
void KeepSum(const BlockKey& key, const Accumulator& sum, v1::ServerPart* part);

// The same back.  DataLoss: not what the other two write for a block of this size.
absl::Status TakeMean(const BlockKey& key, const v1::KeptBlock& kept, BlockValues* mean);
absl::Status TakeSum(const BlockKey& key, const v1::KeptBlock& kept, Accumulator* sum);

}  // namespace gradwire
