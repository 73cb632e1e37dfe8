// SPDX-License-Identifier: Apache-2.0
// Implementation of job.h: a configuration as text.
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/replica/file.h"
#include "common/replica/job.h"

namespace gradwire {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;

// Keeps the first few: one slip often makes many.
class Collector final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    constexpr size_t kMaxErrors = 5;
    if (errors_.size() == kMaxErrors) return;
    // The parser counts from 0, and has no place for what is missing as a whole.
    errors_.push_back(
        line < 0 ? message
                 : absl::StrCat("line ", line + 1, ", column ", column + 1, ": ", message));
  }
  void AddWarning(int /*line*/, google::protobuf::io::ColumnNumber /*column*/,
                  const std::string& /*message*/) override {}

  std::string Text() const { return absl::StrJoin(errors_, "; "); }

 private:
  std::vector<std::string> errors_;
};

absl::StatusOr<v1::JobConfig> ParseFile(const std::string& path, absl::string_view text) {
  if (absl::EndsWith(path, ".textproto")) return ParseJobText(text);
  if (absl::EndsWith(path, ".json")) return ParseJobJson(text);
  return absl::InvalidArgumentError("a job file's name ends in .textproto or .json");
}

}  // namespace

absl::StatusOr<v1::JobConfig> ParseJobText(absl::string_view text) {
  Collector errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  v1::JobConfig config;
  if (!parser.ParseFromString(std::string(text), &config)) {
    return absl::InvalidArgumentError(errors.Text());
  }
  return config;
}

absl::StatusOr<v1::JobConfig> ParseJobJson(absl::string_view json) {
  v1::JobConfig config;
  const auto status =
      google::protobuf::util::JsonStringToMessage({json.data(), json.size()}, &config);
  if (!status.ok()) {
    const auto message = status.message();
    return absl::InvalidArgumentError(absl::string_view(message.data(), message.size()));
  }
  return config;
}

absl::StatusOr<v1::JobConfig> ReadJobFile(const std::string& path) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  absl::StatusOr<v1::JobConfig> config = ParseFile(path, text);
  if (config.ok()) return config;
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", config.status().message()));
}

std::string JobText(const v1::JobConfig& config) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(config, &text);
  return text;
}

std::string JobJson(const v1::JobConfig& config) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  // Fails only for messages that hold an Any: a JobConfig has none.
  const bool ok = google::protobuf::util::MessageToJsonString(config, &json, options).ok();
  return ok ? json : "{}";
}

}  // namespace gradwire
