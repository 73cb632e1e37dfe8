// SPDX-License-Identifier: Apache-2.0
// Implementation of job.h: a configuration made into its parts.
#include "common/replica/job.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/aggregate/registry.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "common/codec/registry.h"
#include "common/optimizer/registry.h"
#include "common/replica/aggregation_check.h"
#include "common/replica/canonical_spec.h"
#include "common/replica/job_check.h"
#include "common/replica/job_shard.h"

namespace gradwire {
namespace {

// They travel in headers.
constexpr int kMaxSchedules = 32;
constexpr size_t kMaxScheduleBytes = 4096;

absl::Status InField(absl::string_view field, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", status.message()));
}

// Choices at their defaults leave no trace in the text: a job's hash is the same as before they
// were there to choose.
uint64_t SchemaHash(const Job& job) {
  std::string text = absl::StrCat("gradwire ", kApplyRevision, "\nseed ", job.config.seed(),
                                  "\ncodec ", job.codecs.specs.front(), "\noptimizer ",
                                  CanonicalSpec(job.config.optimizer(), OptimizerRegistry()), "\n");
  for (const TensorSpec& tensor : job.layout.tensors()) {
    absl::StrAppend(&text, tensor.name, " [", absl::StrJoin(tensor.shape, ","), "] ", tensor.init,
                    "\n");
  }
  for (size_t i = 0; i < job.layout.tensors().size(); ++i) {
    const size_t codec = job.codecs.of_tensor[i];
    if (codec != 0) absl::StrAppend(&text, "tensor ", i, " codec ", job.codecs.specs[codec], "\n");
  }
  if (!job.feedback.automatic) {
    absl::StrAppend(&text, "feedback ", static_cast<int>(job.feedback.kind), " ", job.feedback.beta,
                    "\n");
  }
  for (size_t block = 0; block < job.plans.size(); ++block) {
    if (job.plans[block].compress_down) absl::StrAppend(&text, "down ", block, "\n");
  }
  if (job.config.consistency() == v1::ASYNC) absl::StrAppend(&text, "async\n");
  if (job.config.lag() != 0) absl::StrAppend(&text, "lag ", job.config.lag(), "\n");
  return Hash64(absl::string_view(text));
}

// A hash reads all parameters: so often that a step has at most 100,000 of them to bear.
uint64_t UsualHashEvery(size_t dimension) {
  constexpr uint64_t kLeast = 100;
  constexpr uint64_t kParametersPerStep = 100000;
  return std::max(kLeast, dimension / kParametersPerStep);
}

// Makes the part that a field of the configuration names.
template <typename Part>
absl::Status MakePart(absl::string_view field, absl::StatusOr<Part> made, Part* part) {
  if (!made.ok()) return InField(field, made.status());
  *part = *std::move(made);
  return absl::OkStatus();
}

absl::Status MakeParts(Job* job) {
  const v1::JobConfig& config = job->config;
  GRADWIRE_RETURN_IF_ERROR(
      MakePart("optimizer", MakeOptimizer(config.optimizer()), &job->optimizer));
  GRADWIRE_RETURN_IF_ERROR(
      MakePart("perturbation", MakePerturbation(config.perturbation()), &job->perturbation));
  GRADWIRE_RETURN_IF_ERROR(
      MakePart("error_feedback", ParseErrorFeedback(config.error_feedback()), &job->feedback));
  GRADWIRE_RETURN_IF_ERROR(MakePart("reset", ParseResidualReset(config.reset()), &job->reset));
  GRADWIRE_RETURN_IF_ERROR(MakePart("clip", ParseClip(config.clip()), &job->clip));
  if (!config.aggregator().empty()) {
    GRADWIRE_RETURN_IF_ERROR(
        MakePart("aggregator", MakeAggregator(config.aggregator()), &job->aggregator));
  }
  GRADWIRE_RETURN_IF_ERROR(MakePart("codec", MakeCodec("identity"), &job->dense));
  GRADWIRE_ASSIGN_OR_RETURN(job->schedule, MakeSchedules(config));
  return absl::OkStatus();
}

absl::Status DoesNotGo(const Job& job, absl::string_view field, absl::string_view value,
                       absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("consistency: ", v1::Consistency_Name(job.config.consistency()),
                   " does not go with ", field, " \"", value, "\": ", why));
}

// One payload makes an update of its own, with a weight, some time after its step.
absl::Status CheckFitsAsync(const Job& job) {
  const v1::JobConfig& config = job.config;
  if (config.lag() != 0) {
    return DoesNotGo(job, "lag", absl::StrCat(config.lag()),
                     "nobody waits for an update there; choose lag 0");
  }
  if (job.perturbation.kind != Perturbation::Kind::kNone) {
    return DoesNotGo(job, "perturbation", config.perturbation(),
                     "how much noise there is would depend on who comes when; choose SYNC, QUORUM "
                     "or perturbation none");
  }
  if (job.reset.action != ResidualReset::Action::kNone) {
    return DoesNotGo(job, "reset", config.reset(),
                     "there is no step that all workers begin together; choose reset none");
  }
  if (job.optimizer->draws_noise()) {
    return DoesNotGo(job, "optimizer", config.optimizer(),
                     "its noise is that of whole steps; choose SYNC or QUORUM");
  }
  for (size_t b = 0; b < job.plans.size(); ++b) {
    const BlockPlan& plan = job.plans[b];
    const absl::string_view codec = job.CodecName(plan);
    if (plan.basis_size > 0 || plan.codec->server_state_size(job.Key(0, b)) > 0) {
      return DoesNotGo(job, "codec", codec,
                       "what it keeps between steps is of steps that all take together; choose "
                       "another codec");
    }
    if (plan.compress_down) {
      return DoesNotGo(job, "downlink", config.downlink(),
                       absl::StrCat("the updates of codec ", codec,
                                    " would be compressed again, with a residual of other workers' "
                                    "steps; choose aggregate"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckFitsConsistency(const Job& job) {
  if (job.keeps_mean && job.config.consistency() != v1::SYNC) {
    return DoesNotGo(job, "error_feedback", job.config.error_feedback(),
                     "EF21's mean is that of all members' memories, so none may be left out; "
                     "choose SYNC or error_feedback classic");
  }
  return job.config.consistency() == v1::ASYNC ? CheckFitsAsync(job) : absl::OkStatus();
}

absl::Status MakePlans(Job* job) {
  PlanOptions options = {.feedback = job->feedback,
                         .units = job->optimizer->units(),
                         .perturbation = job->perturbation,
                         .clip = job->clip};
  GRADWIRE_RETURN_IF_ERROR(
      MakePart("downlink", ParseDownlink(job->config.downlink()), &options.downlink));
  // The aggregate of one payload is no longer than that.
  const bool alone = job->config.consistency() == v1::ASYNC;
  if (alone && options.downlink == DownlinkChoice::kAuto) {
    options.downlink = DownlinkChoice::kAggregate;
  }
  GRADWIRE_ASSIGN_OR_RETURN(job->codecs, ChooseCodecs(job->config, job->layout));
  CutForCodecs(job->codecs, &job->layout);
  GRADWIRE_ASSIGN_OR_RETURN(job->plans, PlanBlocks(job->codecs, options, job->layout));
  job->keeps_mean = std::any_of(job->plans.begin(), job->plans.end(),
                                [](const BlockPlan& plan) { return plan.keeps_mean(); });
  job->remembers = std::any_of(job->plans.begin(), job->plans.end(), [](const BlockPlan& plan) {
    return plan.feedback != Feedback::kNone || plan.traits.momentum;
  });
  GRADWIRE_RETURN_IF_ERROR(CheckFitsConsistency(*job));
  return CheckAggregation(*job);
}

}  // namespace

std::vector<StateVector> Job::state_vectors() const {
  std::vector<StateVector> vectors = optimizer->state_vectors();
  for (StateVector& vector : vectors) vector.name = absl::StrCat("optimizer.", vector.name);
  if (keeps_mean) vectors.push_back({.name = "feedback.mean"});
  return vectors;
}

size_t Job::basis_size() const { return plans.back().basis_offset + plans.back().basis_size; }

BlockKey Job::Key(uint64_t step, size_t block) const {
  return {.seed = config.seed(),
          .step = step,
          .block = static_cast<uint32_t>(block),
          .size = layout.block_size(block),
          .columns = layout.block(block).columns,
          .first = static_cast<uint32_t>(layout.first_block())};
}

// The canonical text is name,parameter=value.
absl::string_view Job::CodecName(const BlockPlan& plan) const {
  size_t i = 0;
  while (codecs.codecs[i].get() != plan.codec) ++i;
  const absl::string_view spec = codecs.specs[i];
  return spec.substr(0, spec.find(','));
}

const Codec& Job::CodecOf(size_t block, bool flush) const {
  const BlockPlan& plan = plans[block];
  return flush && plan.feedback == Feedback::kClassic ? *dense : *plan.codec;
}

absl::StatusOr<std::shared_ptr<const Job>> MakeJob(v1::JobConfig config, Shard shard) {
  const bool hashes_as_usual = config.hash_every() == 0;
  FillJobDefaults(&config);
  GRADWIRE_RETURN_IF_ERROR(CheckJob(config));
  auto job = std::make_shared<Job>();
  GRADWIRE_ASSIGN_OR_RETURN(job->layout, Layout::FromModel(config.model()));
  if (hashes_as_usual) config.set_hash_every(UsualHashEvery(job->layout.dimension()));
  job->config = std::move(config);
  GRADWIRE_RETURN_IF_ERROR(MakeParts(job.get()));
  GRADWIRE_RETURN_IF_ERROR(MakePlans(job.get()));
  job->schema_hash = SchemaHash(*job);
  if (shard.count > 1) GRADWIRE_RETURN_IF_ERROR(CutToShard(shard, job.get()));
  return std::shared_ptr<const Job>(std::move(job));
}

absl::StatusOr<std::vector<std::unique_ptr<Schedule>>> MakeSchedules(const v1::JobConfig& config) {
  if (config.schedule_size() > kMaxSchedules) {
    return absl::InvalidArgumentError(absl::StrCat(
        "schedule: ", config.schedule_size(), " factors, at most ", kMaxSchedules, " are allowed"));
  }
  std::vector<std::unique_ptr<Schedule>> factors;
  for (int i = 0; i < config.schedule_size(); ++i) {
    const std::string field = absl::StrCat("schedule[", i, "]");
    const std::string& spec = config.schedule(i);
    if (spec.size() > kMaxScheduleBytes) {
      return absl::InvalidArgumentError(absl::StrCat(field, ": ", spec.size(), " bytes, at most ",
                                                     kMaxScheduleBytes, " are allowed"));
    }
    auto factor = MakeSchedule(spec);
    if (!factor.ok()) return InField(field, factor.status());
    factors.push_back(*std::move(factor));
  }
  return factors;
}

std::vector<std::string> JobWarnings(const Job& job) {
  constexpr double kBursts = 0.1;
  std::vector<std::string> warnings;
  for (size_t i = 0; i < job.codecs.codecs.size(); ++i) {
    const double kept = job.codecs.codecs[i]->traits().kept_at_random;
    if (kept >= kBursts || !job.optimizer->has_first_moment()) continue;
    warnings.push_back(absl::StrCat(
        "codec ", job.codecs.specs[i], " with optimizer ", job.config.optimizer(),
        ": a coordinate arrives every ", absl::StrFormat("%.0f", 1 / kept),
        " steps with everything at once, and a moving average of the gradient takes that for a "
        "signal; accuracy suffers. Use plain sgd, rmsprop, ftml or adam with beta1=0, or top_k, or "
        "a ratio of at least ",
        kBursts));
  }
  if (job.keeps_no_log()) {
    warnings.push_back(absl::StrCat(
        "log ", kSnapshotsOnly, ": a killed server loses up to ", job.config.snapshot_every(),
        " versions (snapshot_every) and with them the workers' residuals; only the newest updates "
        "are there for who lags behind, a worker that joins costs a snapshot, and no history can "
        "be looked at. Use log full to lose nothing"));
  }
  AddAggregationWarnings(job, &warnings);
  return warnings;
}

}  // namespace gradwire
