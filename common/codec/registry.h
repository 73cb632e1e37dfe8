// SPDX-License-Identifier: Apache-2.0
// All codecs by name.  A new one is a file of its own and a row in registry.cc.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/spec.h"
#include "common/codec/codec.h"

namespace gradwire {

struct CodecEntry {
  const char* name;
  v1::CodecId id;
  const char* summary;
  const std::vector<SpecParameter>& (*parameters)();
  std::unique_ptr<Codec> (*make)(const SpecValues& values);
};

absl::Span<const CodecEntry> CodecRegistry();

// From "random_k:0.01,values=bf16".  InvalidArgument names what is wrong and what is allowed.
absl::StatusOr<std::unique_ptr<Codec>> MakeCodec(absl::string_view spec);

}  // namespace gradwire
