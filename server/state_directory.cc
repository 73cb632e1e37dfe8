// SPDX-License-Identifier: Apache-2.0
// Implementation of state_directory.h.
#include "server/state_directory.h"

#include <google/protobuf/util/message_differencer.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/replica/file.h"

namespace gradwire {
namespace {

constexpr size_t kMaxJobBytes = size_t{16} << 20;

// The first difference, in one line: 'modified: steps: 100 -> 200'.
std::string FirstDifference(const v1::JobConfig& before, const v1::JobConfig& now) {
  std::string report;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&report);
  if (differencer.Compare(before, now)) return "";
  const std::string first = report.substr(0, report.find('\n'));
  return first.empty() ? "it differs" : first;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileLock>> ClaimStateDirectory(FileSystem* files,
                                                              const std::string& state_dir,
                                                              const Job& job) {
  if (const absl::Status made = files->MakeFolders(state_dir); !made.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("state directory \"", state_dir, "\" cannot be used: ", made.message()));
  }
  absl::StatusOr<std::unique_ptr<FileLock>> lock = files->Lock(state_dir + "/lock");
  if (absl::IsFailedPrecondition(lock.status())) {
    return absl::UnavailableError(lock.status().message());  // the holder may be on its way out
  }
  GRADWIRE_RETURN_IF_ERROR(lock.status());
  const std::string path = state_dir + "/job.textproto";
  const absl::StatusOr<std::string> text = files->Read(path, kMaxJobBytes);
  if (absl::IsNotFound(text.status())) {
    GRADWIRE_RETURN_IF_ERROR(WriteFileAtomically(path, JobText(job.config), files));
    return lock;
  }
  GRADWIRE_RETURN_IF_ERROR(text.status());
  const absl::StatusOr<v1::JobConfig> before = ParseJobText(*text);
  if (!before.ok()) {
    return absl::DataLossError(absl::StrCat(path, ": ", before.status().message(),
                                            "; write the job there again, or use another "
                                            "--state_dir"));
  }
  const std::string difference = FirstDifference(*before, job.config);
  if (difference.empty()) return lock;
  return absl::FailedPreconditionError(absl::StrCat(
      "state directory \"", state_dir, "\" is of the job \"", before->name(),
      "\", which is not this one (", difference, "); start that job, or use another --state_dir"));
}

}  // namespace gradwire
