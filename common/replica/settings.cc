// SPDX-License-Identifier: Apache-2.0
// Implementation of settings.h.
#include "common/replica/settings.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/replica/job.h"
#include "common/replica/job_check.h"

namespace gradwire {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Every setting that is a number: its name in Settings, and where it stands in the job file.
struct NumberRow {
  const char* setting;
  const char* parent;  // "": the job itself
  const char* field;
};
constexpr NumberRow kNumbers[] = {
    {"steps", "", "steps"},
    {"snapshot_every", "", "snapshot_every"},
    {"min_workers", "membership", "min_workers"},
    {"lease_seconds", "membership", "lease_seconds"},
    {"start_timeout_seconds", "membership", "start_timeout_seconds"},
    {"lost_timeout_seconds", "membership", "lost_timeout_seconds"},
    {"step_timeout_seconds", "membership", "step_timeout_seconds"},
    {"quorum_workers", "quorum", "workers"},
    {"quorum_min_workers", "quorum", "min_workers"},
    {"quorum_deadline_seconds", "quorum", "deadline_seconds"},
    {"learning_rate", "", "learning_rate"},
};
constexpr char kShortRate[] = "lr";  // for learning_rate, as optimizers call it
constexpr char kTargetMetric[] = "target.metric";
constexpr char kTargetValue[] = "target.value";
constexpr char kSchedule[] = "schedule";

std::string NameOf(const NumberRow& row) {
  return *row.parent == '\0' ? row.field : absl::StrCat(row.parent, ".", row.field);
}

std::string AllNames() {
  std::vector<std::string> names;
  for (const NumberRow& row : kNumbers) names.push_back(NameOf(row));
  for (const char* other : {kTargetMetric, kTargetValue, kSchedule}) names.emplace_back(other);
  return absl::StrJoin(names, ", ");
}

const FieldDescriptor* FieldOf(const Message& message, const char* name) {
  return message.GetDescriptor()->FindFieldByName(name);
}

// Null: this job has none.
const Message* ParentOf(const NumberRow& row, const v1::JobConfig& config) {
  if (*row.parent == '\0') return &config;
  const FieldDescriptor* parent = FieldOf(config, row.parent);
  const auto* reflection = config.GetReflection();
  return reflection->HasField(config, parent) ? &reflection->GetMessage(config, parent) : nullptr;
}

Message* MutableParentOf(const NumberRow& row, v1::JobConfig* config) {
  if (*row.parent == '\0') return config;
  return config->GetReflection()->MutableMessage(config, FieldOf(*config, row.parent));
}

using Number = std::variant<uint32_t, uint64_t, double>;  // as the field has it

Number NumberIn(const Message& message, const FieldDescriptor* field) {
  const auto* reflection = message.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection->GetUInt32(message, field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection->GetUInt64(message, field);
    default:
      return reflection->GetDouble(message, field);
  }
}

void PutNumber(const Number& number, const FieldDescriptor* field, Message* message) {
  const auto* reflection = message->GetReflection();
  if (const auto* small = std::get_if<uint32_t>(&number)) {
    reflection->SetUInt32(message, field, *small);
  } else if (const auto* whole = std::get_if<uint64_t>(&number)) {
    reflection->SetUInt64(message, field, *whole);
  } else {
    reflection->SetDouble(message, field, std::get<double>(number));
  }
}

std::string NumberText(const Number& number) {
  return std::visit([](auto value) { return absl::StrCat(value); }, number);
}

// Present where the job has the field's parent.
void CopyNumber(const NumberRow& row, const v1::JobConfig& config, v1::Settings* settings) {
  const Message* parent = ParentOf(row, config);
  if (parent == nullptr) return;
  PutNumber(NumberIn(*parent, FieldOf(*parent, row.field)), FieldOf(*settings, row.setting),
            settings);
}

// The config without its operational fields.
v1::JobConfig IdentityOf(v1::JobConfig config) {
  for (const NumberRow& row : kNumbers) {
    if (ParentOf(row, config) == nullptr) continue;
    Message* parent = MutableParentOf(row, &config);
    parent->GetReflection()->ClearField(parent, FieldOf(*parent, row.field));
  }
  config.clear_target();
  config.clear_schedule();
  return config;
}

absl::Status Wrong(absl::string_view assignment, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("\"", assignment, "\": ", why));
}

absl::StatusOr<Number> ParseNumber(absl::string_view text, const FieldDescriptor* field) {
  uint32_t small = 0;
  uint64_t whole = 0;
  double number = 0;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      if (absl::SimpleAtoi(text, &small)) return Number(small);
      return absl::InvalidArgumentError("a whole number below 2^32 is needed");
    case FieldDescriptor::CPPTYPE_UINT64:
      if (absl::SimpleAtoi(text, &whole)) return Number(whole);
      return absl::InvalidArgumentError("a whole number below 2^64 is needed");
    default:
      if (absl::SimpleAtod(text, &number)) return Number(number);
      return absl::InvalidArgumentError("a number is needed");
  }
}

// Whether a job file has such a field at all.
bool IsJobField(absl::string_view name) {
  const google::protobuf::Descriptor* message = v1::JobConfig::descriptor();
  for (const absl::string_view part : absl::StrSplit(name, '.')) {
    const FieldDescriptor* field =
        message == nullptr ? nullptr : message->FindFieldByName(std::string(part));
    if (field == nullptr) return false;
    message = field->message_type();
  }
  return true;
}

absl::Status ParseOne(absl::string_view assignment, absl::string_view name, absl::string_view value,
                      v1::Settings* settings) {
  for (const NumberRow& row : kNumbers) {
    if (name != NameOf(row)) continue;
    const FieldDescriptor* field = FieldOf(*settings, row.setting);
    const absl::StatusOr<Number> number = ParseNumber(value, field);
    if (!number.ok()) return Wrong(assignment, number.status().message());
    PutNumber(*number, field, settings);
    return absl::OkStatus();
  }
  if (name == kTargetMetric) {
    settings->mutable_target()->set_metric(std::string(value));
  } else if (name == kTargetValue) {
    double number = 0;
    if (!absl::SimpleAtod(value, &number)) return Wrong(assignment, "a number is needed");
    settings->mutable_target()->set_value(number);
  } else if (name == kSchedule) {
    for (const absl::string_view factor : absl::StrSplit(value, ';', absl::SkipEmpty())) {
      settings->add_schedule(std::string(factor));
    }
    if (settings->schedule().empty()) settings->add_schedule("constant");
  } else if (IsJobField(name)) {
    return Wrong(assignment, absl::StrCat(name, " is part of what the job is, and stays as it is; ",
                                          "these can be set: ", AllNames()));
  } else {
    return Wrong(assignment,
                 absl::StrCat("a job has no ", name, "; these can be set: ", AllNames()));
  }
  return absl::OkStatus();
}

}  // namespace

v1::Settings SettingsOf(const v1::JobConfig& config) {
  v1::Settings settings;
  for (const NumberRow& row : kNumbers) CopyNumber(row, config, &settings);
  *settings.mutable_target() = config.target();
  *settings.mutable_schedule() = config.schedule();
  return settings;
}

v1::Settings SettingsBetween(const v1::JobConfig& from, const v1::JobConfig& to) {
  const v1::Settings before = SettingsOf(from);
  v1::Settings settings = SettingsOf(to);
  for (const NumberRow& row : kNumbers) {
    const FieldDescriptor* field = FieldOf(settings, row.setting);
    const auto* reflection = settings.GetReflection();
    if (reflection->HasField(before, field) == reflection->HasField(settings, field) &&
        NumberIn(before, field) == NumberIn(settings, field)) {
      reflection->ClearField(&settings, field);
    }
  }
  using google::protobuf::util::MessageDifferencer;
  if (MessageDifferencer::Equals(before.target(), settings.target())) settings.clear_target();
  if (std::equal(before.schedule().begin(), before.schedule().end(), settings.schedule().begin(),
                 settings.schedule().end())) {
    settings.clear_schedule();
  }
  return settings;
}

bool IsEmpty(const v1::Settings& settings) { return settings.ByteSizeLong() == 0; }

absl::StatusOr<v1::JobConfig> WithSettings(const v1::JobConfig& config,
                                           const v1::Settings& settings) {
  v1::JobConfig merged = config;
  for (const NumberRow& row : kNumbers) {
    const FieldDescriptor* field = FieldOf(settings, row.setting);
    if (!settings.GetReflection()->HasField(settings, field)) continue;
    Message* parent = MutableParentOf(row, &merged);
    PutNumber(NumberIn(settings, field), FieldOf(*parent, row.field), parent);
  }
  if (settings.has_target()) {
    *merged.mutable_target() = settings.target();
    if (settings.target().metric().empty()) merged.clear_target();
  }
  if (settings.schedule_size() > 0) *merged.mutable_schedule() = settings.schedule();
  FillJobDefaults(&merged);
  GRADWIRE_RETURN_IF_ERROR(CheckJob(merged));
  GRADWIRE_RETURN_IF_ERROR(MakeSchedules(merged).status());
  return merged;
}

std::string IdentityDifference(const v1::JobConfig& before, const v1::JobConfig& now) {
  std::string report;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&report);
  if (differencer.Compare(IdentityOf(before), IdentityOf(now))) return "";
  const std::string first = report.substr(0, report.find('\n'));
  return first.empty() ? "it differs" : first;
}

std::string SettingsText(const v1::Settings& settings) {
  std::vector<std::string> assignments;
  for (const NumberRow& row : kNumbers) {
    const FieldDescriptor* field = FieldOf(settings, row.setting);
    if (!settings.GetReflection()->HasField(settings, field)) continue;
    assignments.push_back(absl::StrCat(NameOf(row), "=", NumberText(NumberIn(settings, field))));
  }
  if (settings.has_target()) {
    assignments.push_back(absl::StrCat(kTargetMetric, "=", settings.target().metric()));
    if (!settings.target().metric().empty()) {
      assignments.push_back(absl::StrCat(kTargetValue, "=", settings.target().value()));
    }
  }
  if (settings.schedule_size() > 0) {
    assignments.push_back(absl::StrCat(kSchedule, "=", absl::StrJoin(settings.schedule(), ";")));
  }
  return absl::StrJoin(assignments, " ");
}

absl::StatusOr<v1::Settings> ParseSettings(absl::Span<const std::string> assignments) {
  v1::Settings settings;
  std::set<std::string> names;
  for (const std::string& assignment : assignments) {
    const std::vector<std::string> parts = absl::StrSplit(assignment, absl::MaxSplits('=', 1));
    if (parts.size() != 2) {
      return Wrong(assignment,
                   absl::StrCat("NAME=VALUE is needed; these can be set: ", AllNames()));
    }
    const std::string name = parts[0] == kShortRate ? "learning_rate" : parts[0];
    if (!names.insert(name).second) {
      return Wrong(assignment, absl::StrCat(name, " is set twice"));
    }
    GRADWIRE_RETURN_IF_ERROR(ParseOne(assignment, name, parts[1], &settings));
  }
  const bool clears = settings.has_target() && settings.target().metric().empty();
  if (names.count(kTargetMetric) != names.count(kTargetValue) &&
      (names.count(kTargetMetric) == 0 || !clears)) {
    return absl::InvalidArgumentError(absl::StrCat(kTargetMetric, " and ", kTargetValue,
                                                   " are set together, or ", kTargetMetric,
                                                   "= alone, for no target"));
  }
  return settings;
}

}  // namespace gradwire
