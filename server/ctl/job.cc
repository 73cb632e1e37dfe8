// SPDX-License-Identifier: Apache-2.0
// gradwire job: a job file from flags.
#include "common/replica/job.h"

#include <cstdio>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/spec.h"
#include "common/base/status_macros.h"
#include "server/ctl/commands.h"

namespace gradwire {
namespace {

absl::Status SetMlp(const JobOptions& options, absl::string_view widths, v1::Mlp* mlp) {
  mlp->set_inputs(options.inputs);
  mlp->set_classes(options.classes);
  for (absl::string_view width : absl::StrSplit(widths, ',', absl::SkipEmpty())) {
    uint32_t value = 0;
    if (!absl::SimpleAtoi(width, &value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--model=", options.model, ": \"", width, "\" is not a width"));
    }
    mlp->add_hidden(value);
  }
  return absl::OkStatus();
}

SpecParameter Number(const char* name, const char* value, double min, double max) {
  return {.name = name, .default_value = value, .min = min, .max = max};
}

absl::Status SetSaddle(absl::string_view spec, v1::QuadraticSaddle* saddle) {
  const std::vector<SpecParameter> parameters = {
      Number("dimension", "1", 1, 1e9), Number("negative", "1", 1, 1e9),
      Number("gamma", "1", 0, 1e6),     Number("curvature", "1", 0, 1e6),
      Number("wall", "0", 0, 1e6),      Number("start", "0", -1e6, 1e6)};
  GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values, ParseSpecArguments(spec, parameters));
  saddle->set_dimension(static_cast<uint64_t>(values.Number("dimension")));
  saddle->set_negative(static_cast<uint64_t>(values.Number("negative")));
  saddle->set_gamma(values.Number("gamma"));
  saddle->set_curvature(values.Number("curvature"));
  saddle->set_wall(values.Number("wall"));
  saddle->set_start(values.Number("start"));
  return absl::OkStatus();
}

absl::Status SetModel(const JobOptions& options, v1::ModelConfig* model) {
  const absl::string_view name = SpecName(options.model);
  const absl::string_view rest =
      absl::string_view(options.model).substr(std::min(name.size() + 1, options.model.size()));
  if (name == "mlp") return SetMlp(options, rest, model->mutable_mlp());
  if (name == "logistic") {
    model->mutable_logistic()->set_inputs(options.inputs);
    model->mutable_logistic()->set_classes(options.classes);
    return absl::OkStatus();
  }
  if (name == "quadratic_saddle") {
    return SetSaddle(options.model, model->mutable_quadratic_saddle());
  }
  return absl::InvalidArgumentError(absl::StrCat("--model=", options.model, ": \"", name,
                                                 "\" is not logistic, mlp or quadratic_saddle"));
}

absl::Status AddRules(absl::string_view rules, v1::JobConfig* config) {
  for (absl::string_view rule : absl::StrSplit(rules, ';', absl::SkipEmpty())) {
    const std::vector<std::string> parts = absl::StrSplit(rule, absl::MaxSplits('=', 1));
    if (parts.size() != 2) {
      return absl::InvalidArgumentError(
          absl::StrCat("--tensors: \"", rule, "\" is not PATTERN=CODEC, as in *.bias=identity"));
    }
    v1::TensorRule* added = config->add_tensors();
    added->set_name(parts[0]);
    added->set_codec(parts[1]);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status PrintJob(const JobOptions& options) {
  v1::JobConfig config;
  config.set_name(options.name);
  GRADWIRE_RETURN_IF_ERROR(SetModel(options, config.mutable_model()));
  config.set_steps(options.steps);
  config.set_seed(options.seed);
  config.set_codec(options.codec);
  config.set_optimizer(options.optimizer);
  for (absl::string_view factor : absl::StrSplit(options.schedule, ';', absl::SkipEmpty())) {
    config.add_schedule(std::string(factor));
  }
  config.set_perturbation(options.perturbation);
  config.set_error_feedback(options.error_feedback);
  config.set_downlink(options.downlink);
  config.set_reset(options.reset);
  config.set_clip(options.clip);
  config.set_aggregator(options.aggregator);
  config.set_max_norm_factor(options.max_norm_factor);
  GRADWIRE_RETURN_IF_ERROR(AddRules(options.tensors, &config));
  config.mutable_membership()->set_workers(options.workers);
  config.mutable_trainer()->set_batch(options.batch);
  config.mutable_trainer()->set_eval_every(options.eval_every);
  GRADWIRE_ASSIGN_OR_RETURN(const std::shared_ptr<const Job> job, MakeJob(std::move(config)));
  std::fputs(JobText(job->config).c_str(), stdout);
  for (const std::string& warning : JobWarnings(*job)) {
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  return absl::OkStatus();
}

}  // namespace gradwire
