// SPDX-License-Identifier: Apache-2.0
// A membership and its time, for tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "server/membership.h"

namespace gradwire {

inline v1::Member MakeMember(const std::string& id, uint32_t rank, uint64_t incarnation) {
  v1::Member member;
  member.set_id(id);
  member.set_rank(rank);
  member.set_incarnation(incarnation);
  return member;
}

// Leases are of 10 s, a lost member of a FIXED job is waited for 30 s.
class MembershipFixture : public testing::Test {
 protected:
  explicit MembershipFixture(v1::Membership::Mode mode) : membership_(Config(mode)) {}

  static v1::Membership Config(v1::Membership::Mode mode) {
    v1::Membership config;
    config.set_mode(mode);
    config.set_lease_seconds(10);
    if (mode == v1::Membership::FIXED) config.set_lost_timeout_seconds(30);
    return config;
  }
  absl::StatusOr<WorkerEntry*> Join(const std::string& id, uint64_t session) {
    return membership_.Join(id, session, "1.2.3.4:5", now_, &replaced_);
  }
  uint32_t RankOf(const std::string& id, uint64_t session = 1) {
    const auto worker = Join(id, session);
    EXPECT_TRUE(worker.ok()) << worker.status();
    return worker.ok() ? (*worker)->rank : 999;
  }
  WorkerEntry* Entry(const std::string& id) {
    return const_cast<WorkerEntry*>(&membership_.workers().at(id));
  }
  void Lose(const std::string& id) {
    membership_.Remove(Entry(id), WorkerEntry::State::kLost, "test");
  }
  void MakeReady(const std::string& id) { Entry(id)->state = WorkerEntry::State::kReady; }

  // Lets time pass as a server that runs sees it; gives who was lost meanwhile.
  std::vector<std::string> Pass(absl::Duration time) {
    std::vector<std::string> lost;
    for (absl::Duration left = time; left > absl::ZeroDuration();) {
      const absl::Duration step = std::min(left, absl::Milliseconds(100));
      now_ += step;
      left -= step;
      for (const WorkerEntry* worker : membership_.Expire(now_)) lost.push_back(worker->id);
    }
    return lost;
  }

  Membership membership_;
  absl::Duration now_ = absl::Seconds(100);
  bool replaced_ = false;
};

}  // namespace gradwire
