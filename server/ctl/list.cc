// SPDX-License-Identifier: Apache-2.0
// gradwire list: what there is to choose, as Markdown tables made from the registries.
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/aggregate/registry.h"
#include "common/base/spec.h"
#include "common/codec/registry.h"
#include "common/optimizer/perturbation.h"
#include "common/optimizer/registry.h"
#include "common/optimizer/schedule.h"
#include "server/ctl/commands.h"

namespace gradwire {
namespace {

// A bar within a cell would end it.
void PrintRow(const std::vector<std::string>& cells) {
  const auto escape = [](std::string* out, const std::string& cell) {
    out->append(absl::StrReplaceAll(cell, {{"|", "\\|"}}));
  };
  std::printf("| %s |\n", absl::StrJoin(cells, " | ", escape).c_str());
}

void PrintHead(const std::vector<std::string>& names) {
  PrintRow(names);
  PrintRow(std::vector<std::string>(names.size(), "---"));
}

// `ratio` when it is required, `momentum=0.9` with its default; words with their alternatives.
std::string ParameterText(const SpecParameter& parameter) {
  std::string text = absl::StrCat("`", parameter.name);
  if (!parameter.default_value.empty()) absl::StrAppend(&text, "=", parameter.default_value);
  text.push_back('`');
  std::vector<std::string> others;
  for (const std::string& word : parameter.words) {
    if (word != parameter.default_value) others.push_back(absl::StrCat("`", word, "`"));
  }
  if (!others.empty()) absl::StrAppend(&text, " or ", absl::StrJoin(others, ", "));
  return text;
}

std::string ParametersText(const std::vector<SpecParameter>& parameters) {
  return absl::StrJoin(parameters, "; ", [](std::string* out, const SpecParameter& parameter) {
    out->append(ParameterText(parameter));
  });
}

std::string Code(absl::string_view name) { return absl::StrCat("`", name, "`"); }

void PrintCodecs() {
  PrintHead({"codec", "what is sent", "parameters", "error", "up, bytes a block of n", "down",
             "linear", "source"});
  for (const CodecEntry& entry : CodecRegistry()) {
    PrintRow({Code(entry.name), entry.summary, ParametersText(entry.parameters()), entry.error,
              entry.up, entry.down, entry.linear, entry.source});
  }
}

void PrintOptimizers() {
  PrintHead({"optimizer", "what it does", "parameters", "state", "source"});
  for (const OptimizerEntry& entry : OptimizerRegistry()) {
    PrintRow({Code(entry.name), entry.summary, ParametersText(entry.parameters()), entry.state,
              entry.source});
  }
}

void PrintAggregators() {
  PrintHead(
      {"aggregator", "what it does", "parameters", "hostile workers of n", "codecs", "source"});
  for (const AggregatorEntry& entry : AggregatorRegistry()) {
    PrintRow({Code(entry.name), entry.summary, ParametersText(entry.parameters()), entry.withstands,
              entry.codecs, entry.source});
  }
}

template <typename Entries>
void PrintOthers(const char* kind, const Entries& registry) {
  PrintHead({kind, "what it does", "parameters", "source"});
  for (const auto& entry : registry) {
    PrintRow({Code(entry.name), entry.summary, ParametersText(entry.parameters()), entry.source});
  }
}

}  // namespace

absl::Status PrintList(absl::string_view what) {
  if (what == "codecs") {
    PrintCodecs();
  } else if (what == "optimizers") {
    PrintOptimizers();
  } else if (what == "aggregators") {
    PrintAggregators();
  } else if (what == "schedules") {
    PrintOthers("schedule", ScheduleRegistry());
  } else if (what == "perturbations") {
    PrintOthers("perturbation", PerturbationRegistry());
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        "list \"", what, "\": choose codecs, optimizers, aggregators, schedules or perturbations"));
  }
  return absl::OkStatus();
}

}  // namespace gradwire
