// SPDX-License-Identifier: Apache-2.0
// All codecs by name.  A new one is a file of its own, which defines its entry, and a line
// in registry.cc.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/spec.h"
#include "common/codec/codec.h"

namespace gradwire {

// Texts are for people: `gradwire list codecs`, README.
struct CodecEntry {
  const char* name;
  v1::CodecId id;
  const char* summary;
  const char* error;   // mu of a contraction or omega of an unbiased one
  const char* up;      // bytes of a block of n coordinates
  const char* down;    // the same of its aggregate
  const char* linear;  // "yes", "no", or under what condition
  const char* source;  // paper, or the implementation it follows
  const std::vector<SpecParameter>& (*parameters)();
  absl::StatusOr<std::unique_ptr<Codec>> (*make)(const SpecValues& values);
};

absl::Span<const CodecEntry> CodecRegistry();

// From "random_k:0.01,values=bf16".  InvalidArgument names what is wrong and what is allowed.
absl::StatusOr<std::unique_ptr<Codec>> MakeCodec(absl::string_view spec);

}  // namespace gradwire
