// SPDX-License-Identifier: Apache-2.0
// Implementation of aggregation_check.h.
#include "common/replica/aggregation_check.h"

#include "absl/strings/str_cat.h"
#include "common/aggregate/registry.h"
#include "common/base/status_macros.h"
#include "common/replica/job.h"

namespace gradwire {
namespace {

// The field that asks for payloads one by one, as it stands in the job.
std::string FieldText(const Job& job) {
  if (job.aggregator == nullptr) {
    return absl::StrCat("max_norm_factor: ", job.config.max_norm_factor());
  }
  return absl::StrCat("aggregator: \"", job.config.aggregator(), "\"");
}

absl::Status DoesNotGo(const Job& job, absl::string_view with, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat(FieldText(job), " does not go with ", with, ": ", why));
}

bool Allows(Alone alone, const Aggregator* aggregator) {
  if (aggregator == nullptr) return true;
  return aggregator->traits().per_coordinate ? alone == Alone::kCoordinates
                                             : alone != Alone::kNothing;
}

absl::Status CheckCodec(const Job& job, const BlockPlan& plan) {
  const Alone alone = plan.traits.alone;
  const bool norms = job.config.max_norm_factor() == 0 || alone != Alone::kNothing;
  if (norms && Allows(alone, job.aggregator.get())) return absl::OkStatus();
  const std::string names =
      AggregatorNames([alone](const Aggregator* aggregator) { return Allows(alone, aggregator); });
  return DoesNotGo(
      job, absl::StrCat("codec ", job.CodecName(plan)),
      alone == Alone::kNothing
          ? absl::StrCat("its payloads say something only together; it takes the aggregator ",
                         names, ", without max_norm_factor")
          : absl::StrCat("its payloads do not say by themselves what each coordinate is; it takes "
                         "the aggregators ",
                         names));
}

}  // namespace

absl::Status CheckAggregation(const Job& job) {
  if (job.aggregator == nullptr && job.config.max_norm_factor() == 0) return absl::OkStatus();
  if (job.config.consistency() == v1::ASYNC) {
    return DoesNotGo(job, "consistency ASYNC",
                     "a payload makes an update alone there, with no others to compare it with; "
                     "choose SYNC or QUORUM");
  }
  if (job.keeps_mean) {
    return DoesNotGo(job, absl::StrCat("error_feedback ", job.config.error_feedback()),
                     "EF21's mean is that of all members' memories, so none may be left out or "
                     "changed; choose classic or none");
  }
  for (const BlockPlan& plan : job.plans) GRADWIRE_RETURN_IF_ERROR(CheckCodec(job, plan));
  return absl::OkStatus();
}

void AddAggregationWarnings(const Job& job, std::vector<std::string>* warnings) {
  if (job.aggregator == nullptr) return;
  const bool quorum = job.config.consistency() == v1::QUORUM;
  const uint32_t workers =
      quorum ? job.config.quorum().workers() : job.config.membership().workers();
  if (job.aggregator->withstands(workers) > 0) return;
  warnings->push_back(absl::StrCat("aggregator ", job.config.aggregator(), " with ", workers,
                                   " payloads a step withstands no hostile worker: use more "
                                   "workers, or another parameter"));
}

}  // namespace gradwire
