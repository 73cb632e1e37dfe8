// SPDX-License-Identifier: Apache-2.0
// How the coordinator changes the job's operational fields while it runs: what is accepted guides
// it at once, is on the log with the next record, and is answered for then.
#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/replica/settings.h"
#include "server/coordinator.h"

namespace gradwire {
namespace {

constexpr size_t kMaxWaiting = 1000;  // calls of Set

std::string ChangeText(const v1::JobConfig& before, const v1::JobConfig& after) {
  return absl::CHexEscape(absl::StrCat(SettingsText(SettingsBetween(before, after)), " (before: ",
                                       SettingsText(SettingsBetween(after, before)), ")"));
}

}  // namespace

void Coordinator::Set(const v1::Settings& settings, absl::Duration patience, SetDone done) {
  Effects effects;
  {
    MutexLock lock(&mu_);
    SetLocked(settings, patience, std::move(done), &effects);
  }
  effects.Run();
}

void Coordinator::SetLocked(const v1::Settings& settings, absl::Duration patience, SetDone done,
                            Effects* effects) {
  const v1::JobConfig before = config_;
  absl::Status status = CheckMaySet();
  if (status.ok()) status = PlanSettings(settings);
  if (!status.ok()) {
    return effects->Call([done = std::move(done), status] { done(status); });
  }
  const bool changed = !IsEmpty(SettingsBetween(before, config_));
  const bool rides = pending_ != nullptr && pending_header_.has_settings();
  if (!changed && IsEmpty(planned_) && !rides) {
    v1::SetResponse response;
    response.set_version(history_->replica().version());
    *response.mutable_job() = config_;
    response.set_unchanged(true);
    return effects->Call([done = std::move(done), response] { done(response); });
  }
  if (changed) {
    LogInfo(
        absl::StrCat("set: ", ChangeText(before, config_), ", from version ", NextRecord(), " on"));
  }
  // What is planned already is waited for like a change of one's own.
  (IsEmpty(planned_) && !changed ? set_riding_ : set_waiting_)
      .push_back({.done = std::move(done), .until = clock_->Now() + patience});
  Advance(effects);
}

absl::Status Coordinator::CheckMaySet() const {
  if (phase_ == Phase::kFailed) return failure_;
  if (drained_) return absl::UnavailableError("the server is shutting down");
  if (Follows()) {
    return absl::FailedPreconditionError(absl::StrCat("this is shard ", ShardText(job_->shard),
                                                      ", which follows shard 0: ask that one"));
  }
  const bool ends = pending_ != nullptr && pending_header_.finished();
  if (ends || phase_ == Phase::kFinishing || phase_ == Phase::kFinished) {
    return absl::FailedPreconditionError(
        absl::StrCat("the job has ended, at version ",
                     history_->replica().version() + (ends ? 1 : 0), ": nothing can be set"));
  }
  if (set_waiting_.size() + set_riding_.size() < kMaxWaiting) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      kMaxWaiting, " changes wait for the next record already, and no more are taken: try later"));
}

uint64_t Coordinator::NextRecord() const {
  const Replica& replica = history_->replica();
  return (replica.started() ? replica.version() + 1 : 0) + (pending_ != nullptr ? 1 : 0);
}

absl::Status Coordinator::PlanSettings(const v1::Settings& settings) {
  GRADWIRE_ASSIGN_OR_RETURN(v1::JobConfig changed, WithSettings(config_, settings));
  const uint64_t next = NextRecord();
  if (changed.steps() < next) {
    return absl::InvalidArgumentError(
        absl::StrCat("steps: ", changed.steps(), " is below ", next,
                     ", the step that is open: at least that is needed"));
  }
  planned_ = SettingsBetween(history_->state().config(), changed);
  TakeConfig(std::move(changed));
  return absl::OkStatus();
}

void Coordinator::TakeConfig(v1::JobConfig config) {
  config_ = std::move(config);
  membership_.Configure(config_.membership());
}

absl::Status Coordinator::TakeFileChanges() {
  MutexLock lock(&mu_);
  const v1::Settings& changes = history_->job_file_changes();
  if (IsEmpty(changes)) return absl::OkStatus();
  if (Follows()) {
    LogInfo(absl::StrCat("the job file has changed: ", SettingsText(changes),
                         "; shard 0's decides, this one's counts for nothing"));
    return absl::OkStatus();
  }
  job_file_due_ = NextRecord();
  if (!history_->replica().started()) {
    LogInfo(absl::StrCat("the job file has changed before step 1: ", SettingsText(changes)));
    return absl::OkStatus();
  }
  const v1::JobConfig before = config_;
  const absl::StatusOr<v1::JobConfig> changed = WithSettings(before, changes);
  if (changed.ok() && IsEmpty(SettingsBetween(before, *changed))) {
    job_file_due_ = history_->replica().version();  // somebody has set the same
    NoteJobFile();
    return absl::OkStatus();
  }
  absl::Status status = CheckMaySet();
  if (status.ok()) status = PlanSettings(changes);
  if (!status.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the job file has changed since this state directory saw it last (", SettingsText(changes),
        "), but ", status.message(), "; take the change back, or use another --state_dir"));
  }
  LogInfo(absl::StrCat("the job file has changed: ", ChangeText(before, config_), ", from version ",
                       job_file_due_.value(), " on"));
  return absl::OkStatus();
}

void Coordinator::AddSettings(v1::Header* header) {
  if (!IsEmpty(planned_)) *header->mutable_settings() = planned_;
  planned_.Clear();
  std::move(set_waiting_.begin(), set_waiting_.end(), std::back_inserter(set_riding_));
  set_waiting_.clear();
}

void Coordinator::SettingsCommitted(Effects* effects) {
  v1::SetResponse response;
  response.set_version(history_->replica().version());
  *response.mutable_job() = history_->state().config();
  for (SetCall& call : set_riding_) {
    effects->Call([done = std::move(call.done), response] { done(response); });
  }
  set_riding_.clear();
  NoteJobFile();
}

void Coordinator::NoteJobFile() {
  const Replica& replica = history_->replica();
  if (!job_file_due_.has_value() || !replica.started() || replica.version() < *job_file_due_) {
    return;
  }
  // Without a log, what a change was is known again only from a snapshot on.
  const std::optional<Snapshots::File> newest = snapshots_.Newest(UINT64_MAX);
  const bool lasts = newest.has_value() && newest->version >= *job_file_due_;
  if (job_->keeps_no_log() && !lasts) return;
  const absl::Status status = history_->NoteJobFile();
  if (status.ok()) {
    job_file_due_.reset();
  } else if (!job_file_refused_) {
    LogWarning(absl::StrCat("the changed job file cannot be noted yet: ", status.message(),
                            "; it is tried until it can"));
  }
  job_file_refused_ = !status.ok();
}

void Coordinator::RefuseSettings(const absl::Status& status, Effects* effects) {
  for (std::vector<SetCall>* calls : {&set_waiting_, &set_riding_}) {
    for (SetCall& call : *calls) {
      effects->Call([done = std::move(call.done), status] { done(status); });
    }
    calls->clear();
  }
}

void Coordinator::ExpireSettings(absl::Duration now, Effects* effects) {
  const absl::Status status = absl::DeadlineExceededError(
      absl::StrCat("accepted, but not on the log yet: the change comes with the record of version ",
                   NextRecord(), ", which waits (", PhaseName(phase_),
                   "); it is lost if the server ends before; asking for it again does no harm"));
  for (std::vector<SetCall>* calls : {&set_waiting_, &set_riding_}) {
    const auto late = std::stable_partition(
        calls->begin(), calls->end(), [now](const SetCall& call) { return call.until > now; });
    for (auto call = late; call != calls->end(); ++call) {
      effects->Call([done = std::move(call->done), status] { done(status); });
    }
    calls->erase(late, calls->end());
  }
}

}  // namespace gradwire
