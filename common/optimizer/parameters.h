// SPDX-License-Identifier: Apache-2.0
// The parameters that optimizers have in common, declared once with their limits.
#pragma once

#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/base/spec.h"

namespace gradwire {

// "lr"; an empty default makes it required.
SpecParameter LearningRateParameter(std::string default_value);

// "weight_decay", coupled: added to the gradient times the parameters.
SpecParameter WeightDecayParameter();

// "eps", below a division.
SpecParameter EpsilonParameter(std::string default_value);

// The share of a running average that stays, a step.  For CheckBelowOne.
SpecParameter DecayParameter(std::string name, std::string default_value, std::string help);

// "yes" or "no".
SpecParameter SwitchParameter(std::string name, std::string help);

// InvalidArgument when one of these parameters is 1: an average that takes nothing new.
absl::Status CheckBelowOne(const SpecValues& values,
                           std::initializer_list<absl::string_view> names);

}  // namespace gradwire
