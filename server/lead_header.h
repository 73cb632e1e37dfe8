// SPDX-License-Identifier: Apache-2.0
// What is to be known of a header of shard 0 that workers have brought, before it is believed.
#pragma once

#include <algorithm>

#include "gradwire/v1/gradient.pb.h"
#include "server/membership.h"

namespace gradwire {

// Whether the worker is the member with its rank.
inline bool Names(const v1::Header& header, const WorkerEntry& worker) {
  return std::any_of(header.members().begin(), header.members().end(),
                     [&worker](const v1::Member& member) {
                       return member.rank() == worker.rank && member.id() == worker.id;
                     });
}

// Whether its members are such as a round can be opened with: ranks ascend, and are not too many.
inline bool HasRightMembers(const v1::Header& header) {
  const auto& members = header.members();
  const auto not_after = [](const v1::Member& a, const v1::Member& b) {
    return a.rank() >= b.rank();
  };
  return static_cast<size_t>(members.size()) <= Membership::kMaxAlive &&
         std::adjacent_find(members.begin(), members.end(), not_after) == members.end();
}

}  // namespace gradwire
