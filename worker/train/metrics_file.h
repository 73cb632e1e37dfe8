// SPDX-License-Identifier: Apache-2.0
// The file of --metrics: one JSON object a line and step, for plots.
//
//   {"step":812,"loss":0.412,"metrics":{"accuracy":0.846}}
//
// "metrics" stands only where the parameters were evaluated.  Numbers that are not
// finite are null, as JSON knows no others.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

// Every line is handed to the operating system at once: what was written can be
// read while training runs, and outlives the process.  One thread at a time.
class MetricsFile {
 public:
  // Begins the file anew.  Errors of all three name the path.
  static absl::StatusOr<std::unique_ptr<MetricsFile>> Create(const std::string& path);

  // `evaluation` may be null.
  absl::Status Write(uint64_t step, double loss, const v1::Evaluation* evaluation);

  // Once, at the end.
  absl::Status Close();

 private:
  using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;
  MetricsFile(std::string path, File file);

  const std::string path_;
  File file_;
};

}  // namespace gradwire
