// SPDX-License-Identifier: Apache-2.0
// Two ways to write one choice give one text: every parameter by name, in declared order.
#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "common/base/spec.h"

namespace gradwire {

// `registry` is one of the tables of codecs, optimizers, schedules, perturbations.
template <typename Entries>
std::string CanonicalSpec(absl::string_view spec, const Entries& registry) {
  for (const auto& entry : registry) {
    if (SpecName(spec) != entry.name) continue;
    const auto values = ParseSpecArguments(spec, entry.parameters());
    if (!values.ok()) break;  // MakeJob has parsed it before
    std::string text = entry.name;
    for (const SpecParameter& parameter : entry.parameters()) {
      absl::StrAppend(&text, ",", parameter.name, "=");
      if (parameter.kind == SpecParameter::Kind::kWord) {
        absl::StrAppend(&text, values->Word(parameter.name));
      }
      for (const double number : values->Numbers(parameter.name)) {
        absl::StrAppendFormat(&text, "%.17g;", number);
      }
    }
    return text;
  }
  return std::string(spec);
}

}  // namespace gradwire
