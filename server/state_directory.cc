// SPDX-License-Identifier: Apache-2.0
// Implementation of state_directory.h.
#include "server/state_directory.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/replica/file.h"
#include "common/replica/settings.h"

namespace gradwire {
namespace {

constexpr size_t kMaxJobBytes = size_t{16} << 20;

std::string JobPath(const std::string& state_dir) { return state_dir + "/job.textproto"; }

}  // namespace

absl::StatusOr<ClaimedDirectory> ClaimStateDirectory(FileSystem* files,
                                                     const std::string& state_dir, const Job& job) {
  if (const absl::Status made = files->MakeFolders(state_dir); !made.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("state directory \"", state_dir, "\" cannot be used: ", made.message()));
  }
  absl::StatusOr<std::unique_ptr<FileLock>> lock = files->Lock(state_dir + "/lock");
  if (absl::IsFailedPrecondition(lock.status())) {
    return absl::UnavailableError(lock.status().message());  // the holder may be on its way out
  }
  GRADWIRE_RETURN_IF_ERROR(lock.status());
  ClaimedDirectory claimed = {.lock = *std::move(lock), .changes = {}};
  const std::string path = JobPath(state_dir);
  const absl::StatusOr<std::string> text = files->Read(path, kMaxJobBytes);
  if (absl::IsNotFound(text.status())) {
    GRADWIRE_RETURN_IF_ERROR(WriteJobFile(files, state_dir, job.config));
    return claimed;
  }
  GRADWIRE_RETURN_IF_ERROR(text.status());
  const absl::StatusOr<v1::JobConfig> before = ParseJobText(*text);
  if (!before.ok()) {
    return absl::DataLossError(absl::StrCat(path, ": ", before.status().message(),
                                            "; write the job there again, or use another "
                                            "--state_dir"));
  }
  const std::string difference = IdentityDifference(*before, job.config);
  if (difference.empty()) {
    claimed.changes = SettingsBetween(*before, job.config);
    return claimed;
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "state directory \"", state_dir, "\" is of the job \"", before->name(),
      "\", which is not this one (", difference, "); start that job, or use another --state_dir"));
}

absl::Status WriteJobFile(FileSystem* files, const std::string& state_dir,
                          const v1::JobConfig& config) {
  return WriteFileAtomically(JobPath(state_dir), JobText(config), files);
}

}  // namespace gradwire
