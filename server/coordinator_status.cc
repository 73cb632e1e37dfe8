// SPDX-License-Identifier: Apache-2.0
// What the coordinator tells operators.
#include "absl/strings/str_cat.h"
#include "server/coordinator.h"

namespace gradwire {

absl::string_view PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kWaiting:
      return "waiting for workers";
    case Phase::kTraining:
      return "training";
    case Phase::kStarved:
      return "below min_workers";
    case Phase::kPaused:
      return "paused: the disk is full or too slow";
    case Phase::kFinishing:
      return "finishing";
    case Phase::kFinished:
      return "finished";
    case Phase::kFailed:
      return "failed";
  }
  return "unknown";
}

std::string Coordinator::StateOf(const WorkerEntry& worker) const {
  if (worker.alive() && worker.broken) return "reconnecting";
  const v1::Header& named = Follows() ? lead_header_ : history_->replica().header();
  for (const v1::Member& member : named.members()) {
    if (member.rank() == worker.rank && member.incarnation() == worker.incarnation &&
        worker.state == WorkerEntry::State::kReady) {
      return "member";
    }
  }
  return std::string(StateName(worker.state));
}

absl::StatusOr<Snapshots::File> Coordinator::SnapshotAt(uint64_t version) {
  MutexLock lock(&mu_);
  const std::optional<Snapshots::File> file =
      snapshots_.Newest(version == 0 ? UINT64_MAX : version);
  if (file.has_value()) return *file;
  const uint64_t every = config_.snapshot_every();
  return absl::NotFoundError(absl::StrCat(
      "no snapshot at or below version ", version == 0 ? history_->replica().version() : version,
      ": the next is made at version ", (history_->replica().version() / every + 1) * every,
      " or at the job's end (snapshot_every)"));
}

std::string Coordinator::EncodeState() {
  MutexLock lock(&mu_);
  const Replica& replica = history_->replica();
  return replica.started() ? history_->state().Encode(replica) : "";
}

v1::GetStatusResponse Coordinator::GetStatus() {
  MutexLock lock(&mu_);
  v1::GetStatusResponse status;
  *status.mutable_job() = history_->state().config();
  status.set_dimension(job_->layout.dimension());
  if (!job_->shard.alone()) {
    status.mutable_shard()->set_index(job_->shard.index);
    status.mutable_shard()->set_count(job_->shard.count);
  }
  *status.mutable_point() = NewestPoint();
  status.set_phase(std::string(PhaseName(phase_)));
  if (recent_updates_.size() > 1) {
    const absl::Duration span = clock_->Now() - recent_updates_.front();
    status.set_steps_per_second(static_cast<double>(recent_updates_.size() - 1) /
                                absl::ToDoubleSeconds(span + absl::Microseconds(1)));
  }
  status.set_loss(loss_);
  *status.mutable_evaluation() = evaluation_;
  for (const auto& [id, worker] : membership_.workers()) {
    v1::WorkerStatus* row = status.add_workers();
    row->set_id(id);
    row->set_rank(worker.rank);
    row->set_incarnation(worker.incarnation);
    FillWorker(worker, clock_->Now(), row);
  }
  FillCounts(&status);
  for (const uint64_t count : staleness_) status.add_staleness(count);
  for (const uint64_t count : lead_) status.add_lead(count);
  return status;
}

}  // namespace gradwire
