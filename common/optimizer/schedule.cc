// SPDX-License-Identifier: Apache-2.0
// Implementation of schedule.h: the table of all schedules.
#include "common/optimizer/schedule.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

// One line each; NameEntry() is defined in the schedule's own file.
#define GRADWIRE_SCHEDULES(SCHEDULE) \
  SCHEDULE(Constant)                 \
  SCHEDULE(StepDecay)                \
  SCHEDULE(Exponential)              \
  SCHEDULE(Cosine)                   \
  SCHEDULE(LinearWarmup)             \
  SCHEDULE(InverseSqrt)              \
  SCHEDULE(Plateau)

namespace gradwire {

#define GRADWIRE_DECLARE_SCHEDULE(Name) ScheduleEntry Name##Entry();
GRADWIRE_SCHEDULES(GRADWIRE_DECLARE_SCHEDULE)
#undef GRADWIRE_DECLARE_SCHEDULE

absl::Span<const ScheduleEntry> ScheduleRegistry() {
#define GRADWIRE_CALL_SCHEDULE(Name) Name##Entry(),
  static const ScheduleEntry entries[] = {GRADWIRE_SCHEDULES(GRADWIRE_CALL_SCHEDULE)};
#undef GRADWIRE_CALL_SCHEDULE
  return entries;
}

absl::StatusOr<std::unique_ptr<Schedule>> MakeSchedule(absl::string_view spec) {
  const absl::string_view name = SpecName(spec);
  for (const ScheduleEntry& entry : ScheduleRegistry()) {
    if (name != entry.name) continue;
    GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values,
                              ParseSpecArguments(spec, entry.parameters()));
    absl::StatusOr<std::unique_ptr<Schedule>> made = entry.make(values);
    if (made.ok()) return made;
    return absl::InvalidArgumentError(absl::StrCat("\"", spec, "\": ", made.status().message()));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", spec, "\": no schedule \"", name, "\"; known: ",
      absl::StrJoin(ScheduleRegistry(), ", ", [](std::string* out, const ScheduleEntry& entry) {
        absl::StrAppend(out, entry.name);
      })));
}

}  // namespace gradwire
