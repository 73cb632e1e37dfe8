// SPDX-License-Identifier: Apache-2.0
// Parses LIBSVM files in two passes: sparse entries first, then dense rows.
#include "worker/data/libsvm.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "worker/data/file.h"

namespace gradwire {
namespace {

struct Entry {
  uint32_t feature;  // from 0
  float value;
};

struct SparseRows {
  std::vector<int64_t> labels;
  std::vector<size_t> ends;   // of each row in `entries`
  std::vector<size_t> lines;  // of each row in the text, from 1
  std::vector<Entry> entries;
  size_t features = 0;       // the largest index
  size_t features_line = 0;  // where it stands
  bool has_minus_one = false;
};

// The text is someone else's: messages quote no more than this of it.
absl::string_view Quote(absl::string_view text) { return text.substr(0, 40); }

absl::StatusOr<int64_t> ParseLabel(absl::string_view text) {
  constexpr double kMaxLabel = std::numeric_limits<int32_t>::max();
  double label = 0;
  if (!absl::SimpleAtod(text, &label) || !(label >= -1 && label <= kMaxLabel) ||
      label != std::floor(label)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "label \"", Quote(text), "\": expected -1, +1 or an integer from 0 to 2147483647"));
  }
  return static_cast<int64_t>(label);
}

absl::StatusOr<Entry> ParseEntry(absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  uint32_t index = 0;
  if (!absl::SimpleAtoi(parts.first, &index) || index == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", Quote(text), "\": expected index:value with an index from 1"));
  }
  float value = 0;
  if (!absl::SimpleAtof(parts.second, &value) || !std::isfinite(value)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", Quote(text), "\": the value is not a finite number"));
  }
  return Entry{index - 1, value};
}

absl::Status ParseLine(absl::string_view line, size_t number, SparseRows* rows) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  if (words.empty()) return absl::OkStatus();
  GRADWIRE_ASSIGN_OR_RETURN(const int64_t label, ParseLabel(words[0]));
  size_t last = 0;
  for (size_t i = 1; i < words.size(); ++i) {
    GRADWIRE_ASSIGN_OR_RETURN(const Entry entry, ParseEntry(words[i]));
    const size_t index = size_t{entry.feature} + 1;
    if (index <= last) {
      return absl::InvalidArgumentError(
          absl::StrCat("index ", index, " behind index ", last, ": they must ascend"));
    }
    last = index;
    rows->entries.push_back(entry);
  }
  if (last > rows->features) {
    rows->features = last;
    rows->features_line = number;
  }
  rows->labels.push_back(label);
  rows->ends.push_back(rows->entries.size());
  rows->lines.push_back(number);
  rows->has_minus_one |= label == -1;
  return absl::OkStatus();
}

absl::StatusOr<SparseRows> ParseText(NamedText source) {
  SparseRows rows;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(source.text, '\n')) {
    ++number;
    line = line.substr(0, line.find('#'));
    const absl::Status status = ParseLine(line, number, &rows);
    if (!status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(source.name, ":", number, ": ", status.message()));
    }
  }
  if (rows.labels.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(source.name, ": no samples"));
  }
  return rows;
}

absl::Status CheckSize(NamedText source, size_t rows, size_t features, size_t max_values) {
  if (rows <= max_values / features) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(source.name, ": ", rows, " samples of ", features,
                                                 " features; rows are held densely, at most ",
                                                 max_values, " values"));
}

// `binary`: labels are -1 and +1.
absl::StatusOr<std::vector<uint32_t>> MapLabels(NamedText source, const SparseRows& rows,
                                                bool binary) {
  std::vector<uint32_t> labels;
  labels.reserve(rows.labels.size());
  for (size_t i = 0; i < rows.labels.size(); ++i) {
    const int64_t label = rows.labels[i];
    if (binary && label != -1 && label != 1) {
      return absl::InvalidArgumentError(absl::StrCat(
          source.name, ":", rows.lines[i], ": label ", label,
          " beside labels -1: use either -1 and +1 or integers from 0, in both files"));
    }
    labels.push_back(static_cast<uint32_t>(std::max<int64_t>(label, 0)));
  }
  return labels;
}

absl::StatusOr<Dataset> MakeDense(NamedText source, const SparseRows& rows, size_t features,
                                  bool binary) {
  Dataset data;
  GRADWIRE_ASSIGN_OR_RETURN(data.labels, MapLabels(source, rows, binary));
  data.rows = rows.labels.size();
  data.features = features;
  data.classes = 1 + *std::max_element(data.labels.begin(), data.labels.end());
  data.values.resize(data.rows * features);
  size_t entry = 0;
  for (size_t row = 0; row < data.rows; ++row) {
    for (; entry < rows.ends[row]; ++entry) {
      data.values[row * features + rows.entries[entry].feature] = rows.entries[entry].value;
    }
  }
  return data;
}

}  // namespace

absl::StatusOr<DataPair> ParseLibsvm(NamedText train, NamedText test, size_t max_values) {
  GRADWIRE_ASSIGN_OR_RETURN(const SparseRows train_rows, ParseText(train));
  GRADWIRE_ASSIGN_OR_RETURN(const SparseRows test_rows, ParseText(test));
  const size_t features = train_rows.features;
  if (features == 0) {
    return absl::InvalidArgumentError(absl::StrCat(train.name, ": no sample has a feature"));
  }
  if (test_rows.features > features) {
    return absl::InvalidArgumentError(
        absl::StrCat(test.name, ":", test_rows.features_line, ": index ", test_rows.features,
                     ", but ", train.name, " has only ", features,
                     " features: leave it out, or name it once in the training data"));
  }
  GRADWIRE_RETURN_IF_ERROR(CheckSize(train, train_rows.labels.size(), features, max_values));
  GRADWIRE_RETURN_IF_ERROR(CheckSize(test, test_rows.labels.size(), features, max_values));
  const bool binary = train_rows.has_minus_one || test_rows.has_minus_one;
  DataPair pair;
  GRADWIRE_ASSIGN_OR_RETURN(pair.train, MakeDense(train, train_rows, features, binary));
  GRADWIRE_ASSIGN_OR_RETURN(pair.test, MakeDense(test, test_rows, features, binary));
  return pair;
}

absl::StatusOr<DataPair> ReadLibsvm(const std::string& train_path, const std::string& test_path) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::string train, ReadDataFile(train_path));
  GRADWIRE_ASSIGN_OR_RETURN(const std::string test, ReadDataFile(test_path));
  return ParseLibsvm({train_path, train}, {test_path, test});
}

}  // namespace gradwire
