// SPDX-License-Identifier: Apache-2.0
// A point of a job's history as messages name it.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/hash.h"
#include "common/replica/replica.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

inline v1::Point MakePoint(uint64_t version, const ChainHash& chain_hash) {
  v1::Point point;
  point.set_version(version);
  point.set_chain_hash(std::string(AsView(chain_hash)));
  return point;
}

// What the replica holds; without a chain hash before record 0.
inline v1::Point PointAt(const Replica& replica) {
  return replica.started() ? MakePoint(replica.version(), replica.chain_hash()) : v1::Point();
}

}  // namespace gradwire
