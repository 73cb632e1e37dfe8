// SPDX-License-Identifier: Apache-2.0
// Implementation of watch.h.
#include "worker/train/watch.h"

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "worker/train/trainer.h"

namespace gradwire {
namespace {

absl::Status Print(std::FILE* out, const std::string& line) {
  const bool printed = std::fputs(line.c_str(), out) >= 0 && std::fflush(out) == 0;
  return printed ? absl::OkStatus() : absl::AbortedError("nobody reads the output any more");
}

class Watcher {
 public:
  explicit Watcher(const WatchOptions& options) : options_(options) {}

  absl::Status Run() {
    GRADWIRE_ASSIGN_OR_RETURN(observer_, Observer::Connect(options_.observer));
    if (options_.evaluate) {
      GRADWIRE_ASSIGN_OR_RETURN(trainer_, Trainer::Create(observer_->job(), options_.data));
    }
    while (true) {
      GRADWIRE_ASSIGN_OR_RETURN(const bool moved, observer_->Next());
      if (!moved) return Finish();
      GRADWIRE_RETURN_IF_ERROR(options_.evaluate ? EvaluateWhenDue() : PrintLoss());
    }
  }

 private:
  const Replica& replica() const { return observer_->replica(); }

  absl::Status PrintLoss() {
    if (replica().version() == 0) return absl::OkStatus();  // no update yet
    return Print(options_.out, absl::StrFormat("version %d loss %.6g\n", replica().version(),
                                               replica().header().loss()));
  }

  // At multiples of `every`, or as soon as the evaluation before is done.  On a copy, while the
  // updates are read on: a reader that falls behind may miss the job's end.
  absl::Status EvaluateWhenDue() {
    const uint64_t multiple = replica().version() / options_.every;
    const bool busy = evaluation_.valid() &&
                      evaluation_.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
    if (multiple == passed_ || busy) return absl::OkStatus();
    GRADWIRE_RETURN_IF_ERROR(WaitForEvaluation());
    passed_ = multiple;
    StartEvaluation();
    return absl::OkStatus();
  }

  void StartEvaluation() {
    evaluated_ = replica().version();
    parameters_.assign(replica().parameters().begin(), replica().parameters().end());
    evaluation_ = std::async(std::launch::async,
                             [this, version = replica().version()] { return Evaluate(version); });
  }

  absl::Status WaitForEvaluation() {
    return evaluation_.valid() ? evaluation_.get() : absl::OkStatus();
  }

  // On a thread of its own: uses what nothing else uses meanwhile.
  absl::Status Evaluate(uint64_t version) {
    const v1::Evaluation evaluation = trainer_->Evaluate(version, parameters_);
    std::string line = absl::StrFormat("version %d", version);
    for (const v1::Metric& metric : evaluation.metrics()) {
      absl::StrAppendFormat(&line, " %s %.6g", metric.name(), metric.value());
    }
    return Print(options_.out, absl::StrFormat("%s loss %.6g\n", line, evaluation.loss()));
  }

  absl::Status Finish() {
    GRADWIRE_RETURN_IF_ERROR(WaitForEvaluation());
    if (options_.evaluate && evaluated_ != replica().version()) {
      StartEvaluation();
      GRADWIRE_RETURN_IF_ERROR(WaitForEvaluation());
    }
    return Print(options_.out,
                 absl::StrFormat("final version=%d parameters=%s\n", replica().version(),
                                 HashText(replica().ParametersHash())));
  }

  const WatchOptions& options_;
  std::unique_ptr<Observer> observer_;
  std::unique_ptr<Trainer> trainer_;
  uint64_t passed_ = 0;                   // multiples of `every`
  std::optional<uint64_t> evaluated_;     // the last version that was
  std::vector<float> parameters_;         // of that version
  std::future<absl::Status> evaluation_;  // last: it uses the above
};

}  // namespace

absl::Status Watch(const WatchOptions& options) {
  if (options.every == 0) {
    return absl::InvalidArgumentError("--every is 0: it is at least 1, in versions");
  }
  return Watcher(options).Run();
}

}  // namespace gradwire
