// SPDX-License-Identifier: Apache-2.0
// The one notation for choosing a codec, an optimizer, a schedule or a perturbation.
//
//   spec      = name [ ":" argument *( "," argument ) ]
//   argument  = value                ; for the next parameter not yet named, in declared order
//             | key "=" value
//   value     = number | word | number *( "+" number )      ; a list, as in at=1000+1500
//
// Examples: random_k:0.01  ·  top_k:ratio=0.01,values=bf16  ·  step_decay:at=1000+1500,factor=0.1
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace gradwire {

// A parameter as its owner declares it.
struct SpecParameter {
  enum class Kind { kNumber, kWord, kNumbers };
  std::string name = {};
  Kind kind = Kind::kNumber;
  std::string default_value = {};  // in the notation above; empty: the parameter is required
  double min = 0;                  // of every number; min itself is allowed unless open_min
  double max = 0;
  bool open_min = false;
  std::vector<std::string> words = {};  // allowed words, kWord only
  std::string help = {};
};

// Values that have been checked against the declaration.
class SpecValues {
 public:
  double Number(absl::string_view name) const;
  const std::string& Word(absl::string_view name) const;
  const std::vector<double>& Numbers(absl::string_view name) const;

 private:
  friend absl::StatusOr<SpecValues> ParseSpecArguments(absl::string_view,
                                                       absl::Span<const SpecParameter>);
  struct Value {
    std::string name;
    std::string word;
    std::vector<double> numbers;
  };
  const Value& Find(absl::string_view name) const;
  std::vector<Value> values_;
};

// The part of `spec` before the first ":".
absl::string_view SpecName(absl::string_view spec);

// Checks everything behind the name and fills in defaults.  InvalidArgument
// names the parameter, the value and what is allowed.
absl::StatusOr<SpecValues> ParseSpecArguments(absl::string_view spec,
                                              absl::Span<const SpecParameter> parameters);

}  // namespace gradwire
