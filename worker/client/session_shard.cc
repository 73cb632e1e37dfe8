// SPDX-License-Identifier: Apache-2.0
// What a session does for the sake of others: those of the same worker with the job's other shards.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/client/client_stream.h"
#include "worker/client/heartbeat.h"
#include "worker/client/server_stub.h"
#include "worker/client/session.h"

namespace gradwire {

void Session::AddShard(v1::JoinRequest* request) const {
  if (options_.shard.alone()) return;
  request->mutable_shard()->set_index(options_.shard.index);
  request->mutable_shard()->set_count(options_.shard.count);
  if (!options_.shard.follows()) return;
  request->mutable_lead()->set_rank(lead_.rank);
  request->mutable_lead()->set_incarnation(lead_.incarnation);
}

// A server that knows of no shards takes every worker for its own.
absl::Status Session::CheckShard(const v1::JoinResponse& response) const {
  Shard shard;
  if (response.has_shard()) shard = {response.shard().index(), response.shard().count()};
  if (shard == options_.shard) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("it is shard ", ShardText(shard), " of its job, but stands at place ",
                   ShardText(options_.shard), " in --server: that names the addresses of all ",
                   shard.count, " shards, in their order"));
}

// As when the process begins, but for the lease.
void Session::StartOver() {
  CloseStream().IgnoreError();
  JoinAnew();
  in_line_ = false;
  out_of_line_ = false;
  finished_ = false;
  needs_replica_ = follower_ != nullptr && follower_->replica().started();
  recover_at_.reset();
  meet_at_.reset();
  offered_.reset();
  lead_version_.reset();
}

// Another incarnation at shard 0 is another one here.
void Session::FollowLead(const MemberKey& lead) {
  if (lead == lead_) return;
  lead_ = lead;
  if (!joined_) return;
  CloseStream().IgnoreError();
  Rejoin();
}

void Session::TakeLead(const v1::Header& header, const std::string& bytes, uint64_t version) {
  if (lead_version_ == version && lead_bytes_ == bytes) return;
  lead_header_ = header;
  lead_bytes_ = bytes;
  lead_version_ = version;
  if (header.finished()) finished_ = true;
}

bool Session::IsAt(uint64_t version) const {
  return follower_ != nullptr && follower_->replica().started() &&
         follower_->replica().version() == version;
}

bool Session::AtLimit() const {
  const Replica& replica = follower_->replica();
  return replica.started() && replica.version() >= limit_;
}

bool Session::IsOffered(uint64_t version) const {
  return !offered_.has_value() ||
         std::find(offered_->begin(), offered_->end(), version) != offered_->end();
}

const v1::Header& Session::opening() const {
  if (!options_.shard.follows()) return header();
  static const v1::Header* const unknown = new v1::Header();
  return lead_version_ == version() ? lead_header_ : *unknown;
}

}  // namespace gradwire
