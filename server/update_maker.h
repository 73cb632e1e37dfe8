// SPDX-License-Identifier: Apache-2.0
// Turns a complete round into the parts of an update, as all replicas will read them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/replica/job.h"
#include "gradwire/v1/gradient.pb.h"
#include "server/lazy_noise.h"
#include "server/round.h"

namespace gradwire {

struct MadeUpdate {
  std::vector<std::string> parts;  // serialised UpdateParts, the last with the header
  size_t payload_bytes = 0;
};

// The mean of the round's payloads, with the perturbation that is drawn here, encoded.
// OutOfRange: finite payloads whose sum overflows, named by block and coordinate.
absl::StatusOr<MadeUpdate> MakeUpdate(const Job& job, const Round& round, const v1::Header& header,
                                      LazyNoise* noise);

// A record without blocks: the first one, or that of a step without a payload.
MadeUpdate MakeEmptyUpdate(const Job& job, uint64_t version, const v1::Header& header);

}  // namespace gradwire
