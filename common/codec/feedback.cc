// SPDX-License-Identifier: Apache-2.0
// Implementation of feedback.h.
#include "common/codec/feedback.h"

#include "absl/strings/str_cat.h"
#include "common/base/spec.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

absl::Status Unknown(absl::string_view spec, absl::string_view known) {
  return absl::InvalidArgumentError(absl::StrCat("\"", spec, "\": not known; there are: ", known));
}

absl::Status NoArguments(absl::string_view spec) { return ParseSpecArguments(spec, {}).status(); }

}  // namespace

absl::StatusOr<ErrorFeedback> ParseErrorFeedback(absl::string_view spec) {
  const absl::string_view name = SpecName(spec);
  if (name == "ef21_sgdm") {
    const SpecParameter beta = {.name = "beta",
                                .default_value = "0.1",
                                .max = 1,
                                .open_min = true,
                                .help = "weight of the new gradient in the average"};
    GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values, ParseSpecArguments(spec, {beta}));
    return ErrorFeedback{.automatic = false,
                         .kind = Feedback::kEf21Sgdm,
                         .beta = static_cast<float>(values.Number("beta"))};
  }
  GRADWIRE_RETURN_IF_ERROR(NoArguments(spec));
  if (name == "auto") return ErrorFeedback{};
  if (name == "none") return ErrorFeedback{.automatic = false, .kind = Feedback::kNone};
  if (name == "classic") return ErrorFeedback{.automatic = false, .kind = Feedback::kClassic};
  if (name == "ef21") return ErrorFeedback{.automatic = false, .kind = Feedback::kEf21};
  return Unknown(spec, "auto, none, classic, ef21, ef21_sgdm");
}

absl::StatusOr<DownlinkChoice> ParseDownlink(absl::string_view spec) {
  GRADWIRE_RETURN_IF_ERROR(NoArguments(spec));
  const absl::string_view name = SpecName(spec);
  if (name == "auto") return DownlinkChoice::kAuto;
  if (name == "aggregate") return DownlinkChoice::kAggregate;
  if (name == "compressed") return DownlinkChoice::kCompressed;
  return Unknown(spec, "auto, aggregate, compressed");
}

absl::StatusOr<ResidualReset> ParseResidualReset(absl::string_view spec) {
  using Action = ResidualReset::Action;
  const absl::string_view name = SpecName(spec);
  if (name == "none") {
    GRADWIRE_RETURN_IF_ERROR(NoArguments(spec));
    return ResidualReset{};
  }
  if (name != "reset" && name != "flush") return Unknown(spec, "none, reset, flush");
  const SpecParameter parameters[] = {
      {.name = "steps", .default_value = "0", .max = 1e12, .help = "at the latest after so many"},
      {.name = "radius", .default_value = "0", .max = 1e30, .help = "or at this distance"}};
  GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values, ParseSpecArguments(spec, parameters));
  const ResidualReset reset = {.action = name == "reset" ? Action::kReset : Action::kFlush,
                               .steps = static_cast<uint64_t>(values.Number("steps")),
                               .radius = values.Number("radius")};
  if (static_cast<double>(reset.steps) != values.Number("steps")) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", spec, "\": steps: ", values.Number("steps"), " is not a whole number"));
  }
  if (reset.steps == 0 && reset.radius == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", spec, "\": it would never happen; set steps or radius above 0"));
  }
  return reset;
}

}  // namespace gradwire
