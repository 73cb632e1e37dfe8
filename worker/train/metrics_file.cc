// SPDX-License-Identifier: Apache-2.0
// Writes the lines of --metrics.
#include "worker/train/metrics_file.h"

#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

namespace gradwire {
namespace {

absl::Status Failed(const std::string& path, int error) {
  return absl::ErrnoToStatus(error, absl::StrCat("metrics file ", path));
}

}  // namespace

MetricsFile::MetricsFile(std::string path, File file)
    : path_(std::move(path)), file_(std::move(file)) {}

absl::StatusOr<std::unique_ptr<MetricsFile>> MetricsFile::Create(const std::string& path) {
  File file(std::fopen(path.c_str(), "w"), std::fclose);
  if (file == nullptr) return Failed(path, errno);
  return std::unique_ptr<MetricsFile>(new MetricsFile(path, std::move(file)));
}

absl::Status MetricsFile::Write(uint64_t step, double loss, const v1::Evaluation* evaluation) {
  nlohmann::ordered_json line = {{"step", step}, {"loss", loss}};
  if (evaluation != nullptr) {
    nlohmann::ordered_json& metrics = line["metrics"];
    metrics = nlohmann::ordered_json::object();
    for (const v1::Metric& metric : evaluation->metrics()) metrics[metric.name()] = metric.value();
  }
  const std::string text =
      line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), file_.get()) == text.size();
  if (!written || std::fflush(file_.get()) != 0) return Failed(path_, errno);
  return absl::OkStatus();
}

absl::Status MetricsFile::Close() {
  if (std::fclose(file_.release()) != 0) return Failed(path_, errno);
  return absl::OkStatus();
}

}  // namespace gradwire
