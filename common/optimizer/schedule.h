// SPDX-License-Identifier: Apache-2.0
// How the learning rate changes over the steps: the interface that each schedule implements
// in one file of schedules/, and all of them by name.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/spec.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

// One factor of the learning rate, in [0, 1].  Holds no state of its own; only + - * / and
// square root on doubles, so that all machines agree.
class Schedule {
 public:
  virtual ~Schedule() = default;

  // For a step, counted from 1.  `state` has state_size() numbers.
  virtual double Factor(uint64_t step, absl::Span<const double> state) const = 0;

  // Numbers that it remembers of evaluations, all 0 at first.
  virtual size_t state_size() const { return 0; }

  // Takes note of an evaluation; to be called once for each, in order.
  virtual void Observe(const v1::Evaluation& /*evaluation*/, absl::Span<double> /*state*/) const {}
};

struct ScheduleEntry {
  const char* name;
  const char* summary;  // the formula
  const char* source;
  const std::vector<SpecParameter>& (*parameters)();
  absl::StatusOr<std::unique_ptr<Schedule>> (*make)(const SpecValues& values);
};

absl::Span<const ScheduleEntry> ScheduleRegistry();

// From "step_decay:at=1000+1500,factor=0.1".  InvalidArgument names what is wrong and what is
// allowed.
absl::StatusOr<std::unique_ptr<Schedule>> MakeSchedule(absl::string_view spec);

}  // namespace gradwire
