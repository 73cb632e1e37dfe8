// SPDX-License-Identifier: Apache-2.0
// Implementation of worker_state.h.
#include "worker/client/worker_state.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/replica/file.h"
#include "common/replica/state_file.h"
#include "common/rpc/limits.h"

namespace gradwire {
namespace {

constexpr char kKind[] = "worker";
constexpr char kSuffix[] = ".state";
constexpr char kPartial[] = ".partial";  // in the names of files that were not finished
constexpr size_t kMaxFileBytes = size_t{1} << 36;

std::string FolderIn(const std::string& state_dir) { return absl::StrCat(state_dir, "/worker"); }
std::string IdPathIn(const std::string& folder) { return absl::StrCat(folder, "/worker_id"); }

// The version that a file's name says.
std::optional<uint64_t> VersionOf(absl::string_view name) {
  uint64_t version = 0;
  if (!absl::ConsumeSuffix(&name, kSuffix) || !absl::SimpleAtoi(name, &version)) return {};
  return version;
}

StateFile ToFile(const std::string& worker_id, uint64_t schema_hash, WorkerState state) {
  StateFile file;
  file.kind = kKind;
  file.texts = {{"worker_id", worker_id},
                {"schema_hash", absl::StrCat(schema_hash)},
                {"version", absl::StrCat(state.version)},
                {"incarnation", absl::StrCat(state.incarnation)},
                {"reset_id", absl::StrCat(state.memory.reset_id)},
                {"fresh", state.memory.memory.fresh ? "1" : "0"},
                {"chain_hash", std::string(AsView(state.chain_hash))}};
  file.floats["residual"] = std::move(state.memory.memory.residual);
  file.floats["momentum"] = std::move(state.memory.memory.momentum);
  return file;
}

struct Found {
  std::string worker_id;
  uint64_t schema_hash = 0;
  WorkerState state;
};

// A file that is whole and yet lacks something is of another build.
absl::StatusOr<Found> Decode(absl::string_view bytes) {
  GRADWIRE_ASSIGN_OR_RETURN(StateFile file, DecodeStateFile(bytes, kKind));
  Found found;
  uint64_t fresh = 0;
  const std::pair<const char*, uint64_t*> numbers[] = {{"schema_hash", &found.schema_hash},
                                                       {"version", &found.state.version},
                                                       {"incarnation", &found.state.incarnation},
                                                       {"reset_id", &found.state.memory.reset_id},
                                                       {"fresh", &fresh}};
  for (const auto& [name, value] : numbers) {
    if (absl::SimpleAtoi(file.texts[name], value)) continue;
    return absl::DataLossError(absl::StrCat(name, " is \"", file.texts[name], "\", not a number"));
  }
  const std::string& hash = file.texts["chain_hash"];
  if (hash.size() != found.state.chain_hash.size()) {
    return absl::DataLossError(absl::StrCat("chain_hash has ", hash.size(), " bytes, not ",
                                            found.state.chain_hash.size()));
  }
  std::memcpy(found.state.chain_hash.data(), hash.data(), hash.size());
  found.worker_id = std::move(file.texts["worker_id"]);
  found.state.memory.memory = {.fresh = fresh != 0,
                               .residual = std::move(file.floats["residual"]),
                               .momentum = std::move(file.floats["momentum"])};
  return found;
}

absl::StatusOr<Found> ReadState(const std::string& path, FileSystem* files) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::string bytes, files->Read(path, kMaxFileBytes));
  absl::StatusOr<Found> found = Decode(bytes);
  if (found.ok()) return found;
  return absl::Status(found.status().code(), absl::StrCat(path, ": ", found.status().message()));
}

absl::Status OtherWorker(absl::string_view folder, absl::string_view holder,
                         absl::string_view wanted) {
  return absl::FailedPreconditionError(absl::StrCat(
      folder, " has the state of worker \"", holder, "\", this is worker \"", wanted,
      "\": start it with --worker_id=", holder, ", or give it a --state_dir of its own"));
}

}  // namespace

absl::StatusOr<std::string> SavedWorkerId(const std::string& state_dir, FileSystem* files) {
  absl::StatusOr<std::string> id = files->Read(IdPathIn(FolderIn(state_dir)), kMaxTextBytes + 1);
  if (absl::IsNotFound(id.status())) return std::string();
  if (id.ok()) *id = std::string(absl::StripSuffix(*id, "\n"));
  return id;
}

absl::StatusOr<std::unique_ptr<WorkerStateStore>> WorkerStateStore::Open(Options options) {
  std::unique_ptr<WorkerStateStore> store(new WorkerStateStore(std::move(options)));
  FileSystem* const files = store->options_.files;
  GRADWIRE_RETURN_IF_ERROR(files->MakeFolders(store->folder_));
  GRADWIRE_ASSIGN_OR_RETURN(store->lock_, files->Lock(store->folder_ + "/lock"));
  GRADWIRE_RETURN_IF_ERROR(store->ReadWorkerId());
  GRADWIRE_RETURN_IF_ERROR(store->ReadStates());
  return store;
}

WorkerStateStore::WorkerStateStore(Options options)
    : options_(std::move(options)), folder_(FolderIn(options_.state_dir)) {}

absl::Status WorkerStateStore::ReadWorkerId() {
  GRADWIRE_ASSIGN_OR_RETURN(const std::string saved,
                            SavedWorkerId(options_.state_dir, options_.files));
  if (saved == options_.worker_id) return absl::OkStatus();
  if (!saved.empty()) return OtherWorker(folder_, saved, options_.worker_id);
  return WriteFileAtomically(IdPathIn(folder_), options_.worker_id + "\n", options_.files);
}

absl::Status WorkerStateStore::ReadStates() {
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> names, options_.files->List(folder_));
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(folder_, "/", name);
    // What a worker did not finish before it was killed.
    if (absl::StrContains(name, kPartial)) options_.files->Remove(path).IgnoreError();
    if (!VersionOf(name).has_value()) continue;
    const absl::StatusOr<Found> found = ReadState(path, options_.files);
    if (!found.ok()) {
      LogWarning(absl::StrCat("passes over a saved state: ", found.status().message()));
      continue;
    }
    if (found->worker_id != options_.worker_id) {
      return OtherWorker(folder_, found->worker_id, options_.worker_id);
    }
    if (PathOf(found->state.version) != path) {
      LogWarning(absl::StrCat("passes over a saved state: ", path, " is of version ",
                              found->state.version, ": it was renamed"));
      continue;
    }
    points_.push_back({found->state.version, found->state.chain_hash});
    schemas_.push_back(found->schema_hash);
  }
  std::sort(points_.begin(), points_.end(),
            [](const Point& a, const Point& b) { return a.version > b.version; });
  return absl::OkStatus();
}

absl::Status WorkerStateStore::CheckSchema(uint64_t schema_hash) const {
  for (const uint64_t saved : schemas_) {
    if (saved == schema_hash) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        folder_, " has the state of a job with schema ", HashText(saved), ", the server's job has ",
        HashText(schema_hash), ": give this worker an empty --state_dir, or the right server"));
  }
  return absl::OkStatus();
}

bool WorkerStateStore::Has(uint64_t version) const {
  return std::any_of(points_.begin(), points_.end(),
                     [version](const Point& point) { return point.version == version; });
}

std::optional<uint64_t> WorkerStateStore::oldest_version() const {
  if (points_.empty()) return std::nullopt;
  return points_.back().version;
}

absl::StatusOr<WorkerState> WorkerStateStore::Load(uint64_t version) const {
  GRADWIRE_ASSIGN_OR_RETURN(Found found, ReadState(PathOf(version), options_.files));
  return std::move(found.state);
}

absl::Status WorkerStateStore::Save(uint64_t schema_hash, WorkerState state) {
  const Point saved = {state.version, state.chain_hash};
  const std::string bytes =
      EncodeStateFile(ToFile(options_.worker_id, schema_hash, std::move(state)));
  GRADWIRE_RETURN_IF_ERROR(WriteFileAtomically(PathOf(saved.version), bytes, options_.files));
  std::vector<Point> kept = {saved};
  const auto before = std::find_if(points_.begin(), points_.end(), [&saved](const Point& point) {
    return point.version < saved.version;
  });
  if (before != points_.end()) kept.push_back(*before);
  points_ = kept;
  return RemoveAllBut(kept);
}

absl::Status WorkerStateStore::RemoveAfter(uint64_t version) {
  std::vector<Point> kept;
  std::copy_if(points_.begin(), points_.end(), std::back_inserter(kept),
               [version](const Point& point) { return point.version <= version; });
  if (kept.size() == points_.size()) return absl::OkStatus();
  points_ = kept;
  GRADWIRE_RETURN_IF_ERROR(RemoveAllBut(kept));
  return options_.files->SyncFolder(folder_);
}

absl::Status WorkerStateStore::RemoveAll() {
  points_.clear();
  GRADWIRE_RETURN_IF_ERROR(RemoveAllBut({}));
  return options_.files->SyncFolder(folder_);
}

// Damaged ones go, too.
absl::Status WorkerStateStore::RemoveAllBut(absl::Span<const Point> keep) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> names, options_.files->List(folder_));
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(folder_, "/", name);
    const bool kept = std::any_of(keep.begin(), keep.end(), [&](const Point& point) {
      return PathOf(point.version) == path;
    });
    if (kept || !VersionOf(name).has_value()) continue;
    GRADWIRE_RETURN_IF_ERROR(options_.files->Remove(path));
  }
  return absl::OkStatus();
}

std::string WorkerStateStore::PathOf(uint64_t version) const {
  return absl::StrFormat("%s/%012d%s", folder_, version, kSuffix);
}

}  // namespace gradwire
