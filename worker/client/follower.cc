// SPDX-License-Identifier: Apache-2.0
// Collecting parts needs only a part's version and whether it has the header; Replica::Apply checks
// the rest.
#include "worker/client/follower.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/replica/layout.h"
#include "common/replica/update_log.h"
#include "common/replica/update_part.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {
namespace {

constexpr size_t kHeaderBytes = size_t{1} << 20;  // of a record, beside its payloads
constexpr size_t kBlockBytes = 64;                // of a block, beside its values

}  // namespace

Follower::Follower(std::shared_ptr<const Job> job, absl::Span<float> home)
    : job_(std::move(job)), home_(home), replica_(std::make_unique<Replica>(job_, home_)) {}

absl::StatusOr<bool> Follower::Take(std::string part) {
  absl::StatusOr<bool> applied = TakePart(std::move(part));
  if (!applied.ok()) DropOpenRecord();
  return applied;
}

absl::StatusOr<bool> Follower::TakePart(std::string part) {
  const uint64_t next = replica_->started() ? replica_->version() + 1 : 0;
  UpdatePartView view;
  if (!ReadUpdatePart(part, &view)) {
    return absl::InvalidArgumentError(absl::StrCat("after version ", replica_->version(), " came ",
                                                   part.size(),
                                                   " bytes that are not an UpdatePart: server and "
                                                   "worker are of different builds, or damaged"));
  }
  if (view.version != next) {
    return absl::FailedPreconditionError(absl::StrCat(
        "a part of update ", view.version, " came, but the replica needs update ", next, " next"));
  }
  const size_t max_parts = job_->layout.blocks() + 1;
  const size_t max_bytes =
      job_->layout.dimension() * sizeof(float) + job_->layout.blocks() * kBlockBytes + kHeaderBytes;
  if (parts_.size() >= max_parts || part.size() > max_bytes - parts_bytes_) {
    return absl::InvalidArgumentError(absl::StrCat("update ", next, " has more than ",
                                                   parts_.size(), " parts of ", parts_bytes_,
                                                   " bytes; a record of this job has at most ",
                                                   max_parts, " parts and ", max_bytes, " bytes"));
  }
  parts_bytes_ += part.size();
  for (const BlockView& block : view.blocks) payload_bytes_ += block.payload.size();
  const bool whole = view.has_header;
  parts_.push_back(std::move(part));  // the view is of no more use
  if (!whole) return false;
  const std::shared_ptr<const Record> record = MakeRecord(next, std::move(parts_));
  DropOpenRecord();
  GRADWIRE_RETURN_IF_ERROR(replica_->Apply(*record));
  return true;
}

void Follower::DropOpenRecord() {
  parts_.clear();
  parts_bytes_ = 0;
}

absl::Status Follower::Load(Replica::Contents contents) {
  GRADWIRE_RETURN_IF_ERROR(replica_->Load(std::move(contents)));
  DropOpenRecord();
  return absl::OkStatus();
}

void Follower::Restart() {
  replica_ = std::make_unique<Replica>(job_, home_);
  DropOpenRecord();
}

}  // namespace gradwire
