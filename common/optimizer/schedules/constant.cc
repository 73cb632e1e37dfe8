// SPDX-License-Identifier: Apache-2.0
// The base rate, always.
#include <memory>
#include <vector>

#include "common/optimizer/schedule.h"

namespace gradwire {
namespace {

class Constant final : public Schedule {
 public:
  double Factor(uint64_t /*step*/, absl::Span<const double> /*state*/) const override { return 1; }
};

const std::vector<SpecParameter>& Parameters() {
  static const std::vector<SpecParameter> parameters;
  return parameters;
}

absl::StatusOr<std::unique_ptr<Schedule>> Make(const SpecValues& /*values*/) {
  return std::make_unique<Constant>();
}

}  // namespace

// For the table in schedule.cc.
ScheduleEntry ConstantEntry() {
  return {
      .name = "constant", .summary = "1", .source = "none", .parameters = Parameters, .make = Make};
}

}  // namespace gradwire
