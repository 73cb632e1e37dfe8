// SPDX-License-Identifier: Apache-2.0
// How a session comes by a replica and the residual that belongs to it, and how it keeps the
// residual on disk.
//
// A residual is good only at its own version.  So the one recovery path is: the replica at the
// version of a saved state, that state, and then every step since computed again, up to the one
// that is open (Turn::replay).  Without a saved state that the server still has a way to: the
// newest snapshot, and an empty residual from where the server's log ends.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/replica/point.h"
#include "worker/client/heartbeat.h"
#include "worker/client/session.h"

namespace gradwire {

absl::Status Session::OpenStore() {
  if (options_.state_dir.empty()) return absl::OkStatus();
  GRADWIRE_ASSIGN_OR_RETURN(store_, WorkerStateStore::Open({.state_dir = options_.state_dir,
                                                            .worker_id = options_.worker_id,
                                                            .files = options_.files}));
  return absl::OkStatus();
}

void Session::AddSavedPoints(v1::JoinRequest* request) const {
  if (store_ == nullptr) return;
  for (const WorkerStateStore::Point& saved : store_->points()) {
    if (!IsOffered(saved.version)) continue;
    *request->add_saved() = MakePoint(saved.version, saved.chain_hash);
  }
}

// What Join's answer means for replica and residual.
void Session::PlanReplica(const v1::JoinResponse& response) {
  const Replica& replica = follower_->replica();
  const uint64_t oldest = response.oldest_version();
  // The log still has what follows version oldest-1.
  const bool reached = replica.started() ? replica.version() + 1 >= oldest : oldest == 0;
  if (!reached) {
    out_of_line_ = in_line_;
    in_line_ = false;
  }
  recover_at_.reset();
  if (!in_line_ && KeepsState() && response.has_recover_at() && !job_over_) {
    recover_at_ = response.recover_at();
  } else if (IsAsync()) {
    why_empty_ = "an ASYNC job's workers save none";
  } else if (store_ == nullptr) {
    why_empty_ = "there is no --state_dir";
  } else if (store_->points().empty()) {
    why_empty_ = absl::StrCat("there is no saved state in ", store_->folder());
  } else {
    why_empty_ = absl::StrCat("no saved state in ", store_->folder(), " (the newest is of version ",
                              store_->points()[0].version, ") is on the server's log");
  }
  if (!reached || recover_at_.has_value()) needs_replica_ = true;
  if (!needs_replica_) SettleResidual();
}

absl::Status Session::MakeReplica() {
  in_line_ = false;
  recovered_ = false;
  recovering_ = false;
  uplink_->Reset();
  place_before_.reset();
  ahead_at_.reset();
  const bool newest = !recover_at_.has_value() && !meet_at_.has_value();
  const uint64_t at = newest || recover_at_.has_value() ? SnapshotToStartFrom() : *meet_at_;
  bool taken = false;
  if (newest || at > 0) {
    GRADWIRE_ASSIGN_OR_RETURN(taken, TakeSnapshot(at));
  }
  if (!taken && newest && at > 0) {
    GRADWIRE_ASSIGN_OR_RETURN(taken, TakeSnapshot(0));
  }
  if (!taken) follower_->Restart();
  needs_replica_ = false;
  LogInfo(absl::StrCat(taken ? "took the snapshot of version " : "starts again at version ",
                       version()));
  FinishIfOver();
  SettleResidual();
  return absl::OkStatus();
}

// To be called at every version that the replica comes to.
void Session::SettleResidual() {
  if (!follower_->replica().started() || finished_ || job_over_) return;
  if (!in_line_ && recover_at_.has_value() && version() >= recover_at_->version()) {
    if (const absl::Status loaded = LoadSaved(); !loaded.ok()) GiveUpSaved(loaded.message());
  }
  if (!MayBegin()) return;
  if (!in_line_) BeginEmpty();
  if (recovering_) SayRecovered();
}

absl::Status Session::LoadSaved() {
  const uint64_t at = recover_at_->version();
  const Replica& replica = follower_->replica();
  GRADWIRE_ASSIGN_OR_RETURN(WorkerState saved, store_->Load(at));
  if (replica.version() != at || replica.chain_hash() != saved.chain_hash) {
    return absl::FailedPreconditionError(
        absl::StrCat("the saved state is of version ", at, " with chain hash ",
                     HashText(saved.chain_hash), ", the server's way there leads to version ",
                     replica.version(), " with ", HashText(replica.chain_hash())));
  }
  GRADWIRE_RETURN_IF_ERROR(uplink_->Load(std::move(saved.memory)));
  // What comes after it is of a history that the server has lost.
  WarnOnce(store_->RemoveAfter(at));
  heartbeat_->Saved(store_->oldest_version());
  line_incarnation_ = std::min(saved.incarnation, self_.incarnation);
  in_line_ = true;
  recovered_ = true;
  recovering_ = true;
  recovered_at_ = at;
  replayed_ = 0;
  recover_at_.reset();
  return absl::OkStatus();
}

void Session::GiveUpSaved(absl::string_view why) {
  why_empty_ = std::string(why);
  recover_at_.reset();
}

// Where the server's log ends.
void Session::BeginEmpty() {
  uplink_->Reset(follower_->replica().reset_id());
  in_line_ = true;
  recovered_ = false;
  line_incarnation_ = self_.incarnation;
  // Shards that follow have the record of version 0 from their start on.
  const bool others_were_here =
      !promised_.chain_hash().empty() && (version() > 0 || options_.shard.alone());
  if (!uplink_->remembers()) {
    if (others_were_here)
      LogInfo(absl::StrCat("goes on at version ", version(), ": residual=none"));
    return;
  }
  if (others_were_here) {
    LogInfo(absl::StrCat("begins at version ", version(), " with an empty residual, because ",
                         why_empty_, ": residual=reset"));
  }
  if (!KeepsState()) return;
  // They lead to another residual than this one, of which the next payload is.
  WarnOnce(store_->RemoveAll());
  Save();
}

void Session::SayRecovered() {
  recovering_ = false;
  LogInfo(absl::StrCat("recovered the residual at version ", recovered_at_, ", computed ",
                       replayed_, " steps again: residual=recovered"));
}

void Session::SaveWhenDue() {
  if (!in_line_ || finished_ || !KeepsState() || version() % options_.state_every != 0) return;
  if (!store_->Has(version())) Save();
}

void Session::SaveAtEnd() {
  if (!in_line_ || finished_ || !KeepsState() || uplink_->held_step() != 0) return;
  if (!store_->Has(version())) Save();
}

// A disk that fails stops no training: the recovery is only longer, or the residual lost.
void Session::Save() {
  absl::StatusOr<Uplink::Contents> memory = uplink_->contents();
  absl::Status status = memory.status();
  if (memory.ok()) {
    status = store_->Save(job_->schema_hash, {.version = version(),
                                              .chain_hash = follower_->replica().chain_hash(),
                                              .incarnation = line_incarnation_,
                                              .memory = *std::move(memory)});
  }
  WarnOnce(status);
  if (heartbeat_ != nullptr) heartbeat_->Saved(store_->oldest_version());
}

void Session::WarnOnce(const absl::Status& status) {
  if (!status.ok() && status.code() != save_failure_.code()) {
    LogWarning(absl::StrCat("the state of version ", version(),
                            " is not saved, training goes on: ", status.message()));
  }
  save_failure_ = status;
}

}  // namespace gradwire
