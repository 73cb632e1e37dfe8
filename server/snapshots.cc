// SPDX-License-Identifier: Apache-2.0
// Implementation of snapshots.h.
#include "server/snapshots.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/replica/snapshot.h"

namespace gradwire {
namespace {

// Header and alignment beside the values of parameters and state.
size_t MaxSnapshotBytes(const Job& job) {
  const size_t vectors = 1 + job.state_vectors().size();
  return vectors * job.layout.dimension() * sizeof(float) + (size_t{64} << 20);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Snapshots>> Snapshots::Create(const std::string& state_dir) {
  std::error_code error;
  std::filesystem::create_directories(state_dir + "/snapshots", error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat("state directory \"", state_dir, "\" cannot be used: ", error.message()));
  }
  return std::unique_ptr<Snapshots>(new Snapshots(state_dir));
}

absl::Status Snapshots::Save(const Replica& replica) {
  File file = {.version = replica.version(), .chain_hash = replica.chain_hash(), .path = ""};
  file.path = absl::StrFormat("%s/snapshots/%012d.safetensors", state_dir_, file.version);
  GRADWIRE_RETURN_IF_ERROR(WriteFileAtomically(file.path, EncodeSnapshot(replica, true)));
  files_[file.version] = std::move(file);
  while (files_.size() > kKept) {
    std::error_code error;
    std::filesystem::remove(files_.begin()->second.path, error);
    if (error) {
      LogWarning(absl::StrCat("old snapshot ", files_.begin()->second.path,
                              " could not be removed: ", error.message()));
    }
    files_.erase(files_.begin());
  }
  return absl::OkStatus();
}

absl::Status Snapshots::SaveFinal(const Replica& replica) const {
  return WriteFileAtomically(state_dir_ + "/final.safetensors", EncodeSnapshot(replica, false));
}

const Snapshots::File* Snapshots::Newest(uint64_t version) const {
  auto after = files_.upper_bound(version);
  return after == files_.begin() ? nullptr : &std::prev(after)->second;
}

absl::StatusOr<std::string> Snapshots::Read(const Job& job, const File& file, bool with_state) {
  GRADWIRE_ASSIGN_OR_RETURN(std::string bytes, ReadFile(file.path, MaxSnapshotBytes(job)));
  if (with_state) return bytes;
  GRADWIRE_ASSIGN_OR_RETURN(Replica::Contents contents, DecodeSnapshot(job, bytes));
  Replica replica(std::shared_ptr<const Job>(&job, [](const Job*) {}));
  GRADWIRE_RETURN_IF_ERROR(replica.Load(std::move(contents)));
  return EncodeSnapshot(replica, false);
}

}  // namespace gradwire
