// SPDX-License-Identifier: Apache-2.0
// Sparse samples in LIBSVM's text format, read into dense rows.
//
//   file   = line*
//   line   = [ label *( blank index ":" value ) ] [ "#" anything ] newline
//   label  = integer         ; -1 and +1 everywhere, which become 0 and 1; or from 0 up, kept
//   index  = 1, 2, ...       ; ascending within a line; features not named are 0
//   value  = finite number
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/data/dataset.h"

namespace gradwire {

// One text and what to call it in messages.
struct NamedText {
  absl::string_view name;
  absl::string_view text;
};

// Both texts together, as they share the meaning of labels and the number of
// features: the largest index in `train`; `test` may have fewer, not more.
// InvalidArgument names text, line and limit; memory is taken for the dense
// rows only after both are known to hold at most `max_values` values.
absl::StatusOr<DataPair> ParseLibsvm(NamedText train, NamedText test,
                                     size_t max_values = kMaxDatasetValues);

// The same from files.
absl::StatusOr<DataPair> ReadLibsvm(const std::string& train_path, const std::string& test_path);

}  // namespace gradwire
