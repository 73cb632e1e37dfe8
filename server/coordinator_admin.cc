// SPDX-License-Identifier: Apache-2.0
// What an operator may ask of the coordinator, beside changing settings: a snapshot, the server's
// end, the job's end.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "server/coordinator.h"

namespace gradwire {

absl::StatusOr<v1::SnapshotResponse> Coordinator::TakeSnapshot() {
  MutexLock lock(&mu_);
  if (phase_ == Phase::kFailed) return failure_;
  if (drained_) return absl::UnavailableError("the server is shutting down, with a snapshot");
  const uint64_t version = history_->replica().version();
  if (version == 0) {
    return absl::FailedPreconditionError(
        "no step has been made yet: version 0 comes from the seed, and is never saved");
  }
  if (pending_ != nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the job is ", PhaseName(phase_), ": make room, then ask again"));
  }
  GRADWIRE_RETURN_IF_ERROR(history_->SaveSnapshot());
  const std::optional<Snapshots::File> file = snapshots_.Newest(version);
  if (!file.has_value() || file->version != version) {
    return absl::InternalError(absl::StrCat("the snapshot of version ", version, " is not there"));
  }
  LogInfo(absl::StrCat("an operator asked for the snapshot of version ", version));
  v1::SnapshotResponse response;
  response.set_version(version);
  response.set_path(file->path);
  return response;
}

void Coordinator::AskDrain(DrainDone done) {
  Effects effects;
  {
    MutexLock lock(&mu_);
    if (phase_ == Phase::kFailed || drained_) {
      const absl::Status status =
          phase_ == Phase::kFailed ? failure_
                                   : absl::UnavailableError("the server is shutting down already");
      effects.Call([done = std::move(done), status] { done(status); });
    } else {
      if (!drain_asked()) LogInfo("an operator asked the server to drain and end");
      drain_waiting_.push_back(std::move(done));
      // Nobody drains what has ended: its final snapshot is there.
      if (phase_ == Phase::kFinished) AnswerDrain(absl::OkStatus(), &effects);
      drain_asked_.store(true, std::memory_order_relaxed);
    }
  }
  effects.Run();
}

void Coordinator::AnswerDrain(const absl::Status& status, Effects* effects) {
  v1::DrainResponse response;
  response.set_version(history_->replica().version());
  for (DrainDone& done : drain_waiting_) {
    effects->Call([done = std::move(done), status, response] {
      if (status.ok()) {
        done(response);
      } else {
        done(status);
      }
    });
  }
  drain_waiting_.clear();
}

void Coordinator::StopJob(absl::Duration patience, SetDone done) {
  Effects effects;
  {
    MutexLock lock(&mu_);
    if (phase_ == Phase::kWaiting) {
      const absl::Status status = absl::FailedPreconditionError(
          "the job has not begun, so there is no step to end it with: drain the server");
      effects.Call([done = std::move(done), status] { done(status); });
    } else {
      v1::Settings last;
      last.set_steps(NextRecord());
      LogInfo(absl::StrCat("an operator asked the job to stop with step ", last.steps()));
      SetLocked(last, patience, std::move(done), &effects);
    }
  }
  effects.Run();
}

}  // namespace gradwire
