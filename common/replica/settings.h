// SPDX-License-Identifier: Apache-2.0
// A job's operational fields, which may change while it runs: those that Settings in job.proto
// names.  All others are its identity: whoever has another one has another job.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gradwire/v1/job.pb.h"

namespace gradwire {

// All operational fields.  Without a target, the target's metric is empty.
v1::Settings SettingsOf(const v1::JobConfig& config);

// Those in which `to` differs, as `to` has them.
v1::Settings SettingsBetween(const v1::JobConfig& from, const v1::JobConfig& to);

bool IsEmpty(const v1::Settings& settings);

// `config`, which has its defaults, with the fields that `settings` names, checked as a job file
// is: as there, zero stands for the default.  `target` and `schedule` are replaced as a whole; a
// target without a metric is none.  InvalidArgument names the field, the value and the limits.
absl::StatusOr<v1::JobConfig> WithSettings(const v1::JobConfig& config,
                                           const v1::Settings& settings);

// The first difference in identity, in one line: 'modified: codec: "identity" -> "bf16"'; empty
// when there is none.
std::string IdentityDifference(const v1::JobConfig& before, const v1::JobConfig& now);

// "steps=200 membership.min_workers=1 schedule=constant;linear_warmup:10": by the names that the
// fields have in the job file.
std::string SettingsText(const v1::Settings& settings);

// What SettingsText writes, one assignment a string; also "target.metric=" alone, for no target.
// InvalidArgument: what is wrong, or that the name is none of a field that can be set, and which
// can.
absl::StatusOr<v1::Settings> ParseSettings(absl::Span<const std::string> assignments);

}  // namespace gradwire
