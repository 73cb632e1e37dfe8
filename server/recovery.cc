// SPDX-License-Identifier: Apache-2.0
// Implementation of recovery.h.
#include "server/recovery.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

absl::StatusOr<Recovered> FromSeed(const std::shared_ptr<const Job>& job) {
  Recovered fresh;
  fresh.replica = std::make_unique<Replica>(job);
  fresh.state = std::make_unique<ServerState>(job);
  return fresh;
}

// The snapshot's record, where the log has it, must be the one the snapshot was taken at.
absl::Status CheckOnLog(const LoadedSnapshot& loaded, const LogStore& log) {
  const uint64_t version = loaded.contents.version;
  const LogStore::Range range = log.range();
  if (range.empty || version < range.oldest || version > range.newest) return absl::OkStatus();
  GRADWIRE_ASSIGN_OR_RETURN(const std::shared_ptr<const Record> record, log.Read(version));
  if (record->chain_hash == loaded.contents.chain_hash) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "version ", version, " has the chain hash ", HashText(loaded.contents.chain_hash),
      " in the snapshot and ", HashText(record->chain_hash), " on the log"));
}

absl::StatusOr<Recovered> FromSnapshot(const std::shared_ptr<const Job>& job, const LogStore* log,
                                       const Snapshots& snapshots, uint64_t version) {
  GRADWIRE_ASSIGN_OR_RETURN(LoadedSnapshot loaded, snapshots.Load(version));
  if (log != nullptr) GRADWIRE_RETURN_IF_ERROR(CheckOnLog(loaded, *log));
  GRADWIRE_ASSIGN_OR_RETURN(Recovered found, FromSeed(job));
  GRADWIRE_RETURN_IF_ERROR(
      found.state->Load(loaded.server_state, version, loaded.contents.chain_hash));
  GRADWIRE_RETURN_IF_ERROR(found.replica->Load(std::move(loaded.contents)));
  found.from = version;
  return found;
}

// The newest that is whole, or the seed.
absl::StatusOr<Recovered> Start(const std::shared_ptr<const Job>& job, const LogStore* log,
                                Snapshots* snapshots) {
  std::vector<uint64_t> versions = snapshots->versions();
  std::reverse(versions.begin(), versions.end());
  for (const uint64_t version : versions) {
    absl::StatusOr<Recovered> found = FromSnapshot(job, log, *snapshots, version);
    if (found.ok()) return found;
    LogError(absl::StrCat("the snapshot of version ", version,
                          " is passed over: ", found.status().message()));
    snapshots->Forget(version);
  }
  return FromSeed(job);
}

absl::Status CheckReach(const LogStore::Range& range, const Recovered& start) {
  const uint64_t next = start.replica->started() ? start.from + 1 : 0;
  if (range.empty || range.oldest <= next) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "the log begins at version ", range.oldest, ", but ",
      start.replica->started()
          ? absl::StrCat("the newest whole snapshot is of version ", start.from)
          : "there is no whole snapshot",
      ": the versions between them are lost; put the missing files back, or start from another "
      "copy of the state directory"));
}

}  // namespace

absl::StatusOr<Recovered> Recover(const std::shared_ptr<const Job>& job, LogStore* log,
                                  Snapshots* snapshots) {
  GRADWIRE_ASSIGN_OR_RETURN(Recovered recovered, Start(job, log, snapshots));
  if (log == nullptr) return recovered;
  Replica* const replica = recovered.replica.get();
  const LogStore::Range range = log->range();
  GRADWIRE_RETURN_IF_ERROR(CheckReach(range, recovered));
  if (replica->started() && (range.empty || range.newest < replica->version())) {
    if (!range.empty) {
      LogWarning(absl::StrCat("the log ends at version ", range.newest, ", before the snapshot of ",
                              replica->version(), ": it begins anew after that"));
    }
    GRADWIRE_RETURN_IF_ERROR(log->BeginAt(replica->version(), replica->chain_hash()));
    return recovered;
  }
  for (uint64_t next = replica->started() ? replica->version() + 1 : 0;
       !range.empty && next <= range.newest; ++next) {
    GRADWIRE_ASSIGN_OR_RETURN(const std::shared_ptr<const Record> record, log->Read(next));
    GRADWIRE_RETURN_IF_ERROR(recovered.state->Replay(*record, *replica));
    recovered.state->Applying(*replica);
    if (const absl::Status status = replica->Apply(*record); !status.ok()) {
      return absl::DataLossError(absl::StrCat("the log does not replay: ", status.message(),
                                              "; start from another copy of the state directory"));
    }
    recovered.state->Applied(*replica);
    ++recovered.records;
    recovered.bytes += record->bytes + record->server_part.size();
  }
  return recovered;
}

}  // namespace gradwire
