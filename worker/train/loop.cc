// SPDX-License-Identifier: Apache-2.0
// Nothing here knows of the network, nor of how a gradient is computed.
#include "worker/train/loop.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "worker/train/metrics_file.h"
#include "worker/train/progress.h"
#include "worker/train/trainer.h"

namespace gradwire {
namespace {

class Loop {
 public:
  Loop(const LoopOptions& options, ShardedSession* session)
      : options_(options),
        session_(*session),
        progress_({.out = options.out,
                   .terminal = OutputIsTerminal(options.out),
                   .steps = session->job()->config.steps(),
                   .dense_bytes = sizeof(float) * session->job()->layout.dimension()},
                  &clock_),
        gradient_(session->job()->layout.dimension()) {}

  absl::Status Run() {
    GRADWIRE_ASSIGN_OR_RETURN(trainer_, Trainer::Create(session_.job(), options_.data));
    if (!options_.metrics_path.empty()) {
      GRADWIRE_ASSIGN_OR_RETURN(metrics_, MetricsFile::Create(options_.metrics_path));
    }
    while (true) {
      GRADWIRE_ASSIGN_OR_RETURN(const Turn turn, session_.NextTurn());
      if (session_.header().has_evaluation()) progress_.Evaluated(session_.header().evaluation());
      if (session_.header().settings().has_steps()) {
        progress_.SetSteps(session_.header().settings().steps());
      }
      if (turn.kind == Turn::Kind::kFinished) return Finish(turn);
      GRADWIRE_RETURN_IF_ERROR(Compute(turn));
    }
  }

  void EndProgress() {
    if (computed_) progress_.Finish();
  }

 private:
  // ASYNC: the versions that a worker gets to see skip some.
  bool EvaluationIsDue(const Turn& turn) const {
    const v1::JobConfig& config = session_.job()->config;
    const uint64_t every = config.trainer().eval_every();
    if (!turn.evaluate || every == 0 || turn.version == 0) return false;
    if (config.consistency() != v1::ASYNC) return turn.version % every == 0;
    return turn.version / every != last_version_ / every;
  }

  absl::Status Compute(const Turn& turn) {
    StepReport report;
    if (EvaluationIsDue(turn)) {
      report.evaluation = trainer_->Evaluate(turn.version, session_.parameters());
    }
    last_version_ = turn.version;
    const StepResult result =
        trainer_->Step(turn.batch, turn.rank, session_.parameters(), absl::MakeSpan(gradient_));
    report.loss = result.loss;
    report.samples = result.samples;
    if (turn.replay) return session_.Push(absl::MakeSpan(gradient_), report);
    if (options_.stop != nullptr && options_.step_delay > absl::ZeroDuration()) {
      options_.stop->Sleep(options_.step_delay);
    }
    GRADWIRE_RETURN_IF_ERROR(session_.Push(absl::MakeSpan(gradient_), report));
    if (!session_.pushed()) return absl::OkStatus();
    const SessionTraffic traffic = session_.traffic();
    computed_ = true;
    progress_.Step(turn.step, result.loss, traffic.up_wire_bytes, traffic.down_wire_bytes);
    if (metrics_ == nullptr) return absl::OkStatus();
    return metrics_->Write(turn.step, result.loss,
                           report.evaluation.has_value() ? &*report.evaluation : nullptr);
  }

  absl::Status Finish(const Turn& turn) {
    std::optional<v1::Evaluation> evaluation;
    if (turn.evaluate) {
      evaluation = trainer_->Evaluate(turn.version, session_.parameters());
      progress_.Evaluated(*evaluation);
    }
    if (metrics_ != nullptr) {
      if (evaluation.has_value()) {
        GRADWIRE_RETURN_IF_ERROR(metrics_->Write(turn.version, evaluation->loss(), &*evaluation));
      }
      GRADWIRE_RETURN_IF_ERROR(metrics_->Close());
    }
    return session_.Leave("finished", evaluation);
  }

  const LoopOptions& options_;
  ShardedSession& session_;
  const SteadyClock clock_;
  Progress progress_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<MetricsFile> metrics_;
  std::vector<float> gradient_;
  uint64_t last_version_ = 0;  // of the turn before
  bool computed_ = false;      // a step: there is progress to show
};

}  // namespace

absl::Status Train(const LoopOptions& options, ShardedSession* session) {
  Loop loop(options, session);
  const absl::Status status = loop.Run();
  loop.EndProgress();
  if (status.ok() || session->left()) return status;
  const absl::Status left = session->Leave(status.message(), std::nullopt);
  // The step that was open when the worker was asked to stop may have been the last.
  if (absl::IsCancelled(status) && session->finished()) return absl::OkStatus();
  if (!left.ok() && absl::IsCancelled(status)) LogWarning(left.message());
  return status;
}

}  // namespace gradwire
