// SPDX-License-Identifier: Apache-2.0
// Implementation of job_check.h.
#include "common/replica/job_check.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/replica/field_check.h"
#include "common/replica/model_tensors.h"

namespace gradwire {
namespace {

constexpr uint64_t kMaxSteps = uint64_t{1} << 40;
constexpr uint64_t kMaxWorkers = 100000;
constexpr uint64_t kMaxBatch = uint64_t{1} << 24;
constexpr size_t kMaxNameBytes = 200;

void FillMembershipDefaults(v1::Membership* membership) {
  if (membership->mode() == v1::Membership::MODE_UNSPECIFIED) {
    membership->set_mode(v1::Membership::ELASTIC);
  }
  if (membership->workers() == 0) membership->set_workers(1);
  if (membership->min_workers() == 0) membership->set_min_workers(1);
  if (membership->lease_seconds() == 0) membership->set_lease_seconds(10);
  if (membership->start_timeout_seconds() == 0) membership->set_start_timeout_seconds(600);
}

absl::Status CheckName(const std::string& name) {
  const bool printable =
      std::all_of(name.begin(), name.end(), [](char c) { return c >= ' ' && c < '\x7f'; });
  if (printable && name.size() <= kMaxNameBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("name: only up to ", kMaxNameBytes,
                                                 " characters of printable ASCII are allowed"));
}

absl::Status CheckMembership(const v1::Membership& membership) {
  if (membership.mode() != v1::Membership::ELASTIC) {
    return absl::InvalidArgumentError(
        absl::StrCat("membership.mode: ", static_cast<int>(membership.mode()), " is not ELASTIC"));
  }
  const uint64_t workers = membership.workers();
  GRADWIRE_RETURN_IF_ERROR(CheckField("membership.workers", workers, 1, kMaxWorkers));
  GRADWIRE_RETURN_IF_ERROR(
      CheckField("membership.min_workers", membership.min_workers(), 1, workers));
  GRADWIRE_RETURN_IF_ERROR(
      CheckField("membership.lease_seconds", membership.lease_seconds(), 0.1, 3600.0));
  return CheckField("membership.start_timeout_seconds", membership.start_timeout_seconds(), 0.1,
                    604800.0);
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
  if (config->consistency() == v1::CONSISTENCY_UNSPECIFIED) config->set_consistency(v1::SYNC);
  if (config->trainer().batch() == 0) config->mutable_trainer()->set_batch(64);
  if (config->snapshot_every() == 0) config->set_snapshot_every(1000);
  if (config->hash_every() == 0) config->set_hash_every(100);
  FillMembershipDefaults(config->mutable_membership());
  if (config->has_model()) FillModelDefaults(config->mutable_model());
}

absl::Status CheckJob(const v1::JobConfig& config) {
  GRADWIRE_RETURN_IF_ERROR(CheckName(config.name()));
  if (config.steps() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("steps: missing or 0; it is required, in [1, ", kMaxSteps, "]"));
  }
  GRADWIRE_RETURN_IF_ERROR(CheckField("steps", config.steps(), 1, kMaxSteps));
  if (config.consistency() != v1::SYNC) {
    return absl::InvalidArgumentError(
        absl::StrCat("consistency: ", static_cast<int>(config.consistency()), " is not SYNC"));
  }
  GRADWIRE_RETURN_IF_ERROR(CheckMembership(config.membership()));
  GRADWIRE_RETURN_IF_ERROR(CheckField("trainer.batch", config.trainer().batch(), 1, kMaxBatch));
  GRADWIRE_RETURN_IF_ERROR(
      CheckField("trainer.eval_every", config.trainer().eval_every(), 0, kMaxSteps));
  GRADWIRE_RETURN_IF_ERROR(CheckField("snapshot_every", config.snapshot_every(), 1, kMaxSteps));
  return CheckField("hash_every", config.hash_every(), 1, kMaxSteps);
}

}  // namespace gradwire
