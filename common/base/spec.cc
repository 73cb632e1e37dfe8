// SPDX-License-Identifier: Apache-2.0
// Implementation of spec.h.
#include "common/base/spec.h"

#include <cmath>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

absl::Status Wrong(absl::string_view spec, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("\"", spec, "\": ", what));
}

std::string Names(absl::Span<const SpecParameter> parameters) {
  if (parameters.empty()) return "it takes none";
  return absl::StrCat("known: ",
                      absl::StrJoin(parameters, ", ", [](std::string* out, const auto& p) {
                        absl::StrAppend(out, p.name);
                      }));
}

absl::StatusOr<double> CheckedNumber(absl::string_view spec, const SpecParameter& parameter,
                                     absl::string_view text) {
  double value = 0;
  if (!absl::SimpleAtod(text, &value) || !std::isfinite(value)) {
    return Wrong(spec, absl::StrCat(parameter.name, ": \"", text, "\" is not a number"));
  }
  const bool too_small = parameter.open_min ? value <= parameter.min : value < parameter.min;
  if (too_small || value > parameter.max) {
    return Wrong(spec, absl::StrCat(parameter.name, ": ", text, " is not in ",
                                    parameter.open_min ? "(" : "[", parameter.min, ", ",
                                    parameter.max, "]"));
  }
  return value;
}

absl::Status CheckWord(absl::string_view spec, const SpecParameter& parameter,
                       absl::string_view text) {
  for (const std::string& word : parameter.words) {
    if (word == text) return absl::OkStatus();
  }
  return Wrong(spec, absl::StrCat(parameter.name, ": \"", text, "\" is not one of ",
                                  absl::StrJoin(parameter.words, ", ")));
}

// Pairs each argument with its parameter; texts[i] stays empty where none was given.
absl::StatusOr<std::vector<std::string>> Assign(absl::string_view spec,
                                                absl::Span<const SpecParameter> parameters) {
  std::vector<std::string> texts(parameters.size());
  const size_t colon = spec.find(':');
  if (colon == absl::string_view::npos) return texts;
  size_t next = 0;
  for (absl::string_view argument : absl::StrSplit(spec.substr(colon + 1), ',')) {
    const size_t equals = argument.find('=');
    size_t i = 0;
    absl::string_view text = argument;
    if (equals == absl::string_view::npos) {
      while (next < parameters.size() && !texts[next].empty()) ++next;
      i = next;
    } else {
      const absl::string_view key = argument.substr(0, equals);
      text = argument.substr(equals + 1);
      while (i < parameters.size() && parameters[i].name != key) ++i;
    }
    if (i == parameters.size()) {
      return Wrong(spec, absl::StrCat("no parameter for \"", argument, "\"; ", Names(parameters)));
    }
    if (text.empty()) return Wrong(spec, absl::StrCat(parameters[i].name, " has no value"));
    if (!texts[i].empty()) return Wrong(spec, absl::StrCat(parameters[i].name, " is given twice"));
    texts[i] = std::string(text);
  }
  return texts;
}

}  // namespace

absl::string_view SpecName(absl::string_view spec) { return spec.substr(0, spec.find(':')); }

absl::StatusOr<SpecValues> ParseSpecArguments(absl::string_view spec,
                                              absl::Span<const SpecParameter> parameters) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> texts, Assign(spec, parameters));
  SpecValues values;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const SpecParameter& parameter = parameters[i];
    const std::string& text = texts[i].empty() ? parameter.default_value : texts[i];
    if (text.empty()) return Wrong(spec, absl::StrCat(parameter.name, " is required"));
    SpecValues::Value value = {.name = parameter.name, .word = text, .numbers = {}};
    if (parameter.kind == SpecParameter::Kind::kWord) {
      GRADWIRE_RETURN_IF_ERROR(CheckWord(spec, parameter, text));
    } else {
      const bool list = parameter.kind == SpecParameter::Kind::kNumbers;
      for (absl::string_view number :
           list ? absl::StrSplit(text, '+') : std::vector<absl::string_view>{text}) {
        GRADWIRE_ASSIGN_OR_RETURN(const double checked, CheckedNumber(spec, parameter, number));
        value.numbers.push_back(checked);
      }
    }
    values.values_.push_back(std::move(value));
  }
  return values;
}

const SpecValues::Value& SpecValues::Find(absl::string_view name) const {
  for (const Value& value : values_) {
    if (value.name == name) return value;
  }
  std::abort();  // our own bug: the owner asks for a parameter that it did not declare
}

double SpecValues::Number(absl::string_view name) const { return Find(name).numbers.front(); }
const std::string& SpecValues::Word(absl::string_view name) const { return Find(name).word; }
const std::vector<double>& SpecValues::Numbers(absl::string_view name) const {
  return Find(name).numbers;
}

}  // namespace gradwire
