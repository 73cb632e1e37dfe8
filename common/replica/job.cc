// SPDX-License-Identifier: Apache-2.0
// Implementation of job.h: a configuration made into its parts.
#include "common/replica/job.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "common/codec/registry.h"
#include "common/optimizer/registry.h"
#include "common/replica/job_check.h"

namespace gradwire {
namespace {

absl::Status InField(absl::string_view field, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", status.message()));
}

// Two ways to write one choice give one text: every parameter by name, in declared order.
template <typename Entries>
std::string CanonicalSpec(absl::string_view spec, const Entries& registry) {
  for (const auto& entry : registry) {
    if (SpecName(spec) != entry.name) continue;
    const auto values = ParseSpecArguments(spec, entry.parameters());
    if (!values.ok()) break;  // MakeJob has parsed it before
    std::string text = entry.name;
    for (const SpecParameter& parameter : entry.parameters()) {
      absl::StrAppend(&text, ",", parameter.name, "=");
      if (parameter.kind == SpecParameter::Kind::kWord) {
        absl::StrAppend(&text, values->Word(parameter.name));
      }
      for (const double number : values->Numbers(parameter.name)) {
        absl::StrAppendFormat(&text, "%.17g;", number);
      }
    }
    return text;
  }
  return std::string(spec);
}

uint64_t SchemaHash(const Job& job) {
  std::string text =
      absl::StrCat("gradwire ", kApplyRevision, "\nseed ", job.config.seed(), "\ncodec ",
                   CanonicalSpec(job.config.codec(), CodecRegistry()), "\noptimizer ",
                   CanonicalSpec(job.config.optimizer(), OptimizerRegistry()), "\n");
  for (const TensorSpec& tensor : job.layout.tensors()) {
    absl::StrAppend(&text, tensor.name, " [", absl::StrJoin(tensor.shape, ","), "] ", tensor.init,
                    "\n");
  }
  return Hash64(absl::string_view(text));
}

absl::Status MakeSchedules(Job* job) {
  for (int i = 0; i < job->config.schedule_size(); ++i) {
    auto factor = MakeSchedule(job->config.schedule(i));
    if (!factor.ok()) return InField(absl::StrCat("schedule[", i, "]"), factor.status());
    job->schedule.push_back(*std::move(factor));
  }
  return absl::OkStatus();
}

}  // namespace

float Job::LearningRateAt(uint64_t step) const {
  return LearningRate(optimizer->learning_rate(), schedule, step);
}

absl::StatusOr<std::shared_ptr<const Job>> MakeJob(v1::JobConfig config) {
  FillJobDefaults(&config);
  GRADWIRE_RETURN_IF_ERROR(CheckJob(config));
  auto job = std::make_shared<Job>();
  GRADWIRE_ASSIGN_OR_RETURN(job->layout, Layout::FromModel(config.model()));
  auto codec = MakeCodec(config.codec());
  if (!codec.ok()) return InField("codec", codec.status());
  auto optimizer = MakeOptimizer(config.optimizer());
  if (!optimizer.ok()) return InField("optimizer", optimizer.status());
  auto perturbation = MakePerturbation(config.perturbation());
  if (!perturbation.ok()) return InField("perturbation", perturbation.status());
  job->codec = *std::move(codec);
  job->optimizer = *std::move(optimizer);
  job->perturbation = *perturbation;
  job->config = std::move(config);
  GRADWIRE_RETURN_IF_ERROR(MakeSchedules(job.get()));
  job->schema_hash = SchemaHash(*job);
  return std::shared_ptr<const Job>(std::move(job));
}

}  // namespace gradwire
