// SPDX-License-Identifier: Apache-2.0
// Implementation of job_check.h.
#include "common/replica/job_check.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/replica/field_check.h"
#include "common/replica/job.h"
#include "common/replica/model_tensors.h"

namespace gradwire {
namespace {

constexpr uint64_t kMaxSteps = uint64_t{1} << 40;
constexpr uint64_t kMaxWorkers = 100000;
constexpr uint64_t kMaxBatch = uint64_t{1} << 24;
constexpr uint64_t kMaxLead = 1000;
constexpr uint64_t kMaxLag = 1;
constexpr uint32_t kDefaultLead = 4;
constexpr size_t kMaxNameBytes = 200;
constexpr double kMaxWaitSeconds = 604800;  // a week

void FillMembershipDefaults(v1::Membership* membership) {
  if (membership->mode() == v1::Membership::MODE_UNSPECIFIED) {
    membership->set_mode(v1::Membership::ELASTIC);
  }
  if (membership->workers() == 0) membership->set_workers(1);
  if (membership->min_workers() == 0) membership->set_min_workers(1);
  if (membership->lease_seconds() == 0) membership->set_lease_seconds(10);
  if (membership->start_timeout_seconds() == 0) membership->set_start_timeout_seconds(600);
  if (membership->mode() == v1::Membership::FIXED && membership->lost_timeout_seconds() == 0) {
    membership->set_lost_timeout_seconds(600);
  }
}

void FillQuorumDefaults(uint32_t workers_at_start, v1::Quorum* quorum) {
  if (quorum->workers() == 0) quorum->set_workers(std::max(workers_at_start, 2u) - 1);
  const uint32_t all = quorum->workers();
  if (quorum->min_workers() == 0) quorum->set_min_workers(all - all / 2);
  if (quorum->deadline_seconds() == 0) quorum->set_deadline_seconds(1);
}

absl::Status CheckName(const std::string& name) {
  const bool printable =
      std::all_of(name.begin(), name.end(), [](char c) { return c >= ' ' && c < '\x7f'; });
  if (printable && name.size() <= kMaxNameBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("name: only up to ", kMaxNameBytes,
                                                 " characters of printable ASCII are allowed"));
}

absl::Status CheckMembershipMode(const v1::Membership& membership) {
  switch (membership.mode()) {
    case v1::Membership::ELASTIC:
      if (membership.lost_timeout_seconds() == 0) return absl::OkStatus();
      return absl::InvalidArgumentError(
          absl::StrCat("membership.lost_timeout_seconds: ", membership.lost_timeout_seconds(),
                       " is of no use with membership.mode ELASTIC, which goes on without a lost "
                       "member; leave it out, or set mode FIXED"));
    case v1::Membership::FIXED:
      if (membership.min_workers() != 1) {
        return absl::InvalidArgumentError(
            absl::StrCat("membership.min_workers: ", membership.min_workers(),
                         " is of no use with membership.mode FIXED, which waits for every member; "
                         "leave it out, or set mode ELASTIC"));
      }
      return CheckField("membership.lost_timeout_seconds", membership.lost_timeout_seconds(), 0.1,
                        kMaxWaitSeconds);
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("membership.mode: ", static_cast<int>(membership.mode()),
                       " is neither ELASTIC nor FIXED"));
  }
}

absl::Status CheckMembership(const v1::Membership& membership) {
  GRADWIRE_RETURN_IF_ERROR(CheckMembershipMode(membership));
  const uint64_t workers = membership.workers();
  GRADWIRE_RETURN_IF_ERROR(CheckField("membership.workers", workers, 1, kMaxWorkers));
  GRADWIRE_RETURN_IF_ERROR(
      CheckField("membership.min_workers", membership.min_workers(), 1, workers));
  GRADWIRE_RETURN_IF_ERROR(
      CheckField("membership.lease_seconds", membership.lease_seconds(), 0.1, 3600.0));
  if (membership.step_timeout_seconds() != 0) {
    GRADWIRE_RETURN_IF_ERROR(CheckField("membership.step_timeout_seconds",
                                        membership.step_timeout_seconds(), 0.1, kMaxWaitSeconds));
  }
  return CheckField("membership.start_timeout_seconds", membership.start_timeout_seconds(), 0.1,
                    kMaxWaitSeconds);
}

// What belongs to another mode is refused, not ignored.
absl::Status CheckModeFields(const v1::JobConfig& config) {
  const v1::Consistency mode = config.consistency();
  if (mode != v1::SYNC && mode != v1::QUORUM && mode != v1::ASYNC) {
    return absl::InvalidArgumentError(
        absl::StrCat("consistency: ", static_cast<int>(mode), " is none of SYNC, QUORUM, ASYNC"));
  }
  const auto unused = [mode](absl::string_view field, absl::string_view wanted) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": of no use with consistency ", v1::Consistency_Name(mode),
                     "; leave it out, or ", "set consistency ", wanted));
  };
  if (config.has_quorum() && mode != v1::QUORUM) return unused("quorum", "QUORUM");
  if (config.has_async() && mode != v1::ASYNC) return unused("async", "ASYNC");
  return absl::OkStatus();
}

absl::Status CheckConsistency(const v1::JobConfig& config) {
  GRADWIRE_RETURN_IF_ERROR(CheckModeFields(config));
  if (config.consistency() == v1::ASYNC) {
    return CheckField("async.max_lead", uint64_t{config.async().max_lead()}, 1, kMaxLead);
  }
  if (config.consistency() != v1::QUORUM) return absl::OkStatus();
  const v1::Quorum& quorum = config.quorum();
  const uint64_t workers = quorum.workers();
  GRADWIRE_RETURN_IF_ERROR(CheckField("quorum.workers", workers, 1, config.membership().workers()));
  GRADWIRE_RETURN_IF_ERROR(CheckField("quorum.min_workers", quorum.min_workers(), 1, workers));
  return CheckField("quorum.deadline_seconds", quorum.deadline_seconds(), 0.001, 3600.0);
}

absl::Status CheckLog(const v1::JobConfig& config) {
  if (config.log().empty()) return absl::OkStatus();
  if (config.log() != kSnapshotsOnly) {
    return absl::InvalidArgumentError(
        absl::StrCat("log: \"", config.log(), "\" is neither full nor ", kSnapshotsOnly));
  }
  if (config.consistency() != v1::ASYNC) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("log: ", kSnapshotsOnly,
                   " does not go with consistency ASYNC: after a crash nobody would know which of "
                   "a worker's payloads are in the model; choose log full, or SYNC or QUORUM"));
}

absl::Status CheckTarget(const v1::JobConfig& config) {
  if (!config.has_target()) return absl::OkStatus();
  if (config.target().metric().empty() || config.target().metric().size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "target.metric: 1 to ", kMaxNameBytes, " bytes: loss, accuracy, or what the model names"));
  }
  if (!std::isfinite(config.target().value())) {
    return absl::InvalidArgumentError(
        absl::StrCat("target.value: ", config.target().value(), " is not finite"));
  }
  if (config.trainer().eval_every() > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "target: without trainer.eval_every nothing is evaluated before the end; set both or none");
}

}  // namespace

void FillJobDefaults(v1::JobConfig* config) {
  if (config->name().empty()) config->set_name("job");
  if (config->seed() == 0) config->set_seed(1);
  if (config->codec().empty()) config->set_codec("identity");
  if (config->optimizer().empty()) config->set_optimizer("sgd:lr=0.1");
  if (config->schedule().empty()) config->add_schedule("constant");
  if (config->perturbation().empty()) config->set_perturbation("none");
  if (config->error_feedback().empty()) config->set_error_feedback("auto");
  if (config->downlink().empty()) config->set_downlink("auto");
  if (config->reset().empty()) config->set_reset("none");
  if (config->clip().empty()) config->set_clip("none");
  if (config->aggregator() == "mean") config->clear_aggregator();  // as before there was a choice
  if (config->consistency() == v1::CONSISTENCY_UNSPECIFIED) config->set_consistency(v1::SYNC);
  if (config->trainer().batch() == 0) config->mutable_trainer()->set_batch(64);
  if (config->snapshot_every() == 0) config->set_snapshot_every(1000);
  if (config->hash_every() == 0) config->set_hash_every(100);
  if (config->log() == "full") config->clear_log();  // as it was before there was a choice
  FillMembershipDefaults(config->mutable_membership());
  if (config->consistency() == v1::QUORUM) {
    FillQuorumDefaults(config->membership().workers(), config->mutable_quorum());
  }
  if (config->consistency() == v1::ASYNC && config->async().max_lead() == 0) {
    config->mutable_async()->set_max_lead(kDefaultLead);
  }
  if (config->has_model()) FillModelDefaults(config->mutable_model());
}

absl::Status CheckJob(const v1::JobConfig& config) {
  GRADWIRE_RETURN_IF_ERROR(CheckName(config.name()));
  if (config.steps() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("steps: missing or 0; it is required, in [1, ", kMaxSteps, "]"));
  }
  GRADWIRE_RETURN_IF_ERROR(CheckField("steps", config.steps(), 1, kMaxSteps));
  GRADWIRE_RETURN_IF_ERROR(CheckMembership(config.membership()));
  GRADWIRE_RETURN_IF_ERROR(CheckConsistency(config));
  if (config.max_norm_factor() != 0) {
    GRADWIRE_RETURN_IF_ERROR(CheckField("max_norm_factor", config.max_norm_factor(), 1.0, 1e30));
  }
  GRADWIRE_RETURN_IF_ERROR(CheckField("lag", uint64_t{config.lag()}, 0, kMaxLag));
  GRADWIRE_RETURN_IF_ERROR(CheckField("trainer.batch", config.trainer().batch(), 1, kMaxBatch));
  GRADWIRE_RETURN_IF_ERROR(
      CheckField("trainer.eval_every", config.trainer().eval_every(), 0, kMaxSteps));
  GRADWIRE_RETURN_IF_ERROR(CheckTarget(config));
  GRADWIRE_RETURN_IF_ERROR(CheckField("snapshot_every", config.snapshot_every(), 1, kMaxSteps));
  GRADWIRE_RETURN_IF_ERROR(CheckLog(config));
  GRADWIRE_RETURN_IF_ERROR(CheckField("learning_rate", config.learning_rate(), 0.0, 1e6));
  return CheckField("hash_every", config.hash_every(), 1, kMaxSteps);
}

}  // namespace gradwire
