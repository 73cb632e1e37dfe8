// SPDX-License-Identifier: Apache-2.0
// Implementation of state_directory.h.
#include "server/state_directory.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/replica/file.h"
#include "common/replica/settings.h"

namespace gradwire {
namespace {

constexpr size_t kMaxJobBytes = size_t{16} << 20;

constexpr size_t kMaxLine = 64;

std::string JobPath(const std::string& state_dir) { return state_dir + "/job.textproto"; }
std::string ShardPath(const std::string& state_dir) { return state_dir + "/shard"; }
std::string FinishedPath(const std::string& state_dir) { return state_dir + "/finished"; }

// Before the job file, without which the folder is still nobody's.
absl::Status ClaimForShard(FileSystem* files, const std::string& state_dir, const Shard& shard) {
  const bool used = files->Size(JobPath(state_dir)).ok();
  if (!used && !shard.alone()) {
    return WriteFileAtomically(ShardPath(state_dir), ShardText(shard) + "\n", files);
  }
  if (!used) return absl::OkStatus();
  GRADWIRE_ASSIGN_OR_RETURN(const Shard before, ReadShard(files, state_dir));
  if (before == shard) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "state directory \"", state_dir, "\" is of shard ", ShardText(before), ", this server is ",
      ShardText(shard), ": start it with --shard=", ShardText(before),
      ", or use another --state_dir; the number of shards of a job stays as it is"));
}

}  // namespace

absl::StatusOr<Shard> ReadShard(FileSystem* files, const std::string& state_dir) {
  const absl::StatusOr<std::string> text = files->Read(ShardPath(state_dir), kMaxLine);
  if (absl::IsNotFound(text.status())) return Shard();
  GRADWIRE_RETURN_IF_ERROR(text.status());
  const absl::StatusOr<Shard> shard = ParseShard(absl::StripSuffix(*text, "\n"));
  if (shard.ok()) return shard;
  return absl::DataLossError(absl::StrCat(ShardPath(state_dir), ": ", shard.status().message()));
}

absl::Status WriteFinished(FileSystem* files, const std::string& state_dir, uint64_t version) {
  return WriteFileAtomically(FinishedPath(state_dir), absl::StrCat(version, "\n"), files);
}

absl::StatusOr<uint64_t> ReadFinished(FileSystem* files, const std::string& state_dir) {
  const absl::StatusOr<std::string> text = files->Read(FinishedPath(state_dir), kMaxLine);
  if (absl::IsNotFound(text.status())) return 0;
  GRADWIRE_RETURN_IF_ERROR(text.status());
  uint64_t version = 0;
  if (absl::SimpleAtoi(absl::StripSuffix(*text, "\n"), &version)) return version;
  return absl::DataLossError(absl::StrCat(FinishedPath(state_dir), ": not a version"));
}

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
  GRADWIRE_RETURN_IF_ERROR(ClaimForShard(files, state_dir, job.shard));
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
