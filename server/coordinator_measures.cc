// SPDX-License-Identifier: Apache-2.0
// What the coordinator counts and measures for operators; nothing of it decides anything.
#include "server/coordinator.h"

namespace gradwire {
namespace {

constexpr size_t kNewestPayloads = 8;  // of a worker, over which its rate is taken

const v1::Metric* FindMetric(const v1::Evaluation& evaluation, absl::string_view name) {
  for (const v1::Metric& metric : evaluation.metrics()) {
    if (metric.name() == name) return &metric;
  }
  return nullptr;
}

}  // namespace

void Coordinator::CountRefusal(WorkerEntry* worker, Refusal why) {
  counters_->payloads_refused.Add(why);
  ++worker->refused;
}

void Coordinator::NoteTaken(WorkerEntry* worker, const v1::Gradient& message, uint32_t duplicates) {
  counters_->blocks_duplicate.Add(duplicates);
  for (const v1::BlockPayload& block : message.blocks()) {
    counters_->up_payload_bytes.Add(block.payload().size());
  }
  if (!message.has_end() || message.step() <= worker->sent_step) return;
  worker->sent_step = message.step();
  worker->sent_at.push_back(clock_->Now());
  if (worker->sent_at.size() > kNewestPayloads) worker->sent_at.pop_front();
}

// After an update was committed.
void Coordinator::NoteRound() {
  const Replica& replica = history_->replica();
  if (replica.version() == 0) return;
  const History::CommitTimes& times = history_->commit_times();
  const absl::Duration waiting = std::max(made_from_ - opened_, absl::ZeroDuration());
  counters_->rounds.Add();
  counters_->waiting.Add(waiting);
  counters_->encode.Add(encode_time_);
  counters_->log_append.Add(times.log);
  counters_->apply.Add(times.apply);
  counters_->round.Add(std::max(clock_->Now() - opened_, absl::ZeroDuration()));
  const uint64_t up = counters_->up_wire_bytes.value();
  const uint64_t down = counters_->down_wire_bytes.value();
  run_.Add(RunPoint{.version = replica.version(),
                    .seconds = absl::ToDoubleSeconds(clock_->Now() - created_),
                    .loss = loss_,
                    .up_bytes = up,
                    .down_bytes = down,
                    .waiting = static_cast<float>(absl::ToDoubleSeconds(waiting)),
                    .aggregating = static_cast<float>(absl::ToDoubleSeconds(encode_time_)),
                    .log = static_cast<float>(absl::ToDoubleSeconds(times.log)),
                    .applying = static_cast<float>(absl::ToDoubleSeconds(times.apply))});
  if (replica.version() % job_->config.hash_every() == 0) {  // all is passed over then anyway
    counters_->downlink_residual_norm.Set(history_->state().DownlinkResidualNorm());
  }
  NoteEvaluation();
}

void Coordinator::NoteEvaluation() {
  if (evaluation_.metrics().empty() && evaluation_.loss() == 0) return;
  const v1::Metric* accuracy = FindMetric(evaluation_, "accuracy");
  run_.Add(RunEvaluation{
      .version = evaluation_.version(),
      .loss = evaluation_.loss(),
      .has_accuracy = accuracy != nullptr,
      .accuracy = accuracy != nullptr ? accuracy->value() : 0,
      .bytes = counters_->up_wire_bytes.value() + counters_->down_wire_bytes.value()});
}

void Coordinator::FillWorker(const WorkerEntry& worker, absl::Duration now,
                             v1::WorkerStatus* row) const {
  row->set_state(StateOf(worker));
  row->set_step(worker.step);
  row->set_last_heard_seconds(absl::ToDoubleSeconds(now - worker.last_heard));
  row->set_peer(worker.peer);
  row->set_note(worker.note);
  const uint64_t newest = history_->replica().version();
  row->set_version(worker.step > 0 ? std::min(worker.step - 1, newest) : 0);
  row->set_lag(newest - row->version());
  if (worker.alive() && worker.sent_at.size() > 1) {
    const absl::Duration span = now - worker.sent_at.front();
    row->set_steps_per_second(static_cast<double>(worker.sent_at.size() - 1) /
                              absl::ToDoubleSeconds(span + absl::Microseconds(1)));
  }
  row->set_payloads_refused(worker.refused);
  row->set_payloads_too_large(worker.payloads_too_large);
}

void Coordinator::FillCounts(v1::GetStatusResponse* status) const {
  v1::Traffic* traffic = status->mutable_traffic();
  traffic->set_up_payload_bytes(counters_->up_payload_bytes.value());
  traffic->set_up_wire_bytes(counters_->up_wire_bytes.value());
  traffic->set_down_payload_bytes(counters_->down_payload_bytes.value());
  traffic->set_down_wire_bytes(counters_->down_wire_bytes.value());
  traffic->set_worker_steps(counters_->payloads_used.value());
  traffic->set_updates_sent(counters_->updates_sent.value());
  status->set_payloads_late(counters_->payloads_late.value());
  status->set_payloads_duplicate(counters_->blocks_duplicate.value());
  status->set_payloads_abstained(counters_->payloads_abstained.value());
  status->set_payloads_too_large(counters_->payloads_too_large.value());
  uint64_t refused = 0;
  for (size_t i = 0; i < kRefusalNames.size(); ++i) {
    const uint64_t count = counters_->payloads_refused.value(i);
    refused += count;
    if (count == 0) continue;
    v1::ReasonCount* row = status->add_refused_by_reason();
    row->set_reason(kRefusalNames[i]);
    row->set_count(count);
  }
  status->set_payloads_refused(refused);
  v1::RoundTimes* times = status->mutable_round_times();
  times->set_rounds(counters_->rounds.value());
  times->set_waiting_seconds(counters_->waiting.values().seconds);
  times->set_aggregating_seconds(counters_->encode.values().seconds);
  times->set_log_seconds(counters_->log_append.values().seconds);
  times->set_applying_seconds(counters_->apply.values().seconds);
  const absl::Duration since = recent_updates_.empty() ? created_ : last_update_;
  status->set_seconds_since_update(absl::ToDoubleSeconds(clock_->Now() - since));
  const std::optional<Snapshots::File> newest = snapshots_.Newest(UINT64_MAX);
  status->set_snapshot_version(newest.has_value() ? newest->version : 0);
  status->set_log_bytes(history_->log_bytes());
}

}  // namespace gradwire
