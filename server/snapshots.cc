// SPDX-License-Identifier: Apache-2.0
// Implementation of snapshots.h.
#include "server/snapshots.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/replica/snapshot.h"

namespace gradwire {
namespace {

constexpr char kPartial[] = ".partial";
constexpr char kManifest[] = ".manifest";
constexpr char kSnapshot[] = ".safetensors";
constexpr char kServer[] = ".server";

void RemoveOrWarn(FileSystem* files, const std::string& path) {
  const absl::Status status = files->Remove(path);
  if (!status.ok() && !absl::IsNotFound(status)) LogWarning(status.message());
}

}  // namespace

Snapshots::Snapshots(Options options, std::shared_ptr<const Job> job)
    : options_(std::move(options)),
      job_(std::move(job)),
      folder_(options_.state_dir + "/snapshots") {}

Snapshots::~Snapshots() { Wait(); }

std::string SnapshotPath(const std::string& state_dir, uint64_t version, absl::string_view ending) {
  return absl::StrFormat("%s/snapshots/%012d%s", state_dir, version, ending);
}

std::string Snapshots::PathOf(uint64_t version, absl::string_view ending) const {
  return SnapshotPath(options_.state_dir, version, ending);
}

absl::StatusOr<std::unique_ptr<Snapshots>> Snapshots::Open(Options options,
                                                           std::shared_ptr<const Job> job) {
  std::unique_ptr<Snapshots> snapshots(new Snapshots(std::move(options), std::move(job)));
  FileSystem* const files = snapshots->options_.files;
  if (const absl::Status made = files->MakeFolders(snapshots->folder_); !made.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("state directory \"",
                                                   snapshots->options_.state_dir,
                                                   "\" cannot be used: ", made.message()));
  }
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> names, files->List(snapshots->folder_));
  MutexLock lock(&snapshots->mu_);
  for (absl::string_view name : names) {
    uint64_t version = 0;
    if (!absl::ConsumeSuffix(&name, kManifest) || !absl::SimpleAtoi(name, &version)) continue;
    const std::string path = snapshots->PathOf(version, kManifest);
    const absl::StatusOr<std::string> text = files->Read(path, kMaxManifestBytes);
    const absl::StatusOr<Manifest> manifest =
        text.ok() ? DecodeManifest(*text) : absl::StatusOr<Manifest>(text.status());
    if (!manifest.ok() || manifest->version != version) {
      LogWarning(absl::StrCat(path, ": ",
                              manifest.ok() ? "of another version" : manifest.status().message()));
      continue;
    }
    snapshots->files_[version] = {.version = version,
                                  .chain_hash = manifest->chain_hash,
                                  .path = snapshots->PathOf(version, kSnapshot)};
  }
  snapshots->RemoveUnfinished(names);
  return snapshots;
}

void Snapshots::RemoveUnfinished(const std::vector<std::string>& names) const {
  for (const std::string& name : names) {
    if (absl::StrContains(name, kPartial)) {
      RemoveOrWarn(options_.files, absl::StrCat(folder_, "/", name));
    }
  }
}

std::optional<Snapshots::File> Snapshots::Newest(uint64_t version) const {
  MutexLock lock(&mu_);
  const auto after = files_.upper_bound(version);
  if (after == files_.begin()) return std::nullopt;
  return std::prev(after)->second;
}

std::vector<uint64_t> Snapshots::versions() const {
  MutexLock lock(&mu_);
  std::vector<uint64_t> versions;
  for (const auto& [version, file] : files_) versions.push_back(version);
  return versions;
}

absl::StatusOr<LoadedSnapshot> LoadSnapshot(FileSystem* files, const std::string& state_dir,
                                            const Job& job, uint64_t version) {
  const std::string manifest_path = SnapshotPath(state_dir, version, kManifest);
  const std::string path = SnapshotPath(state_dir, version, kSnapshot);
  const auto damaged = [](const std::string& file, absl::string_view reason) {
    return absl::DataLossError(absl::StrCat(file, ": ", reason));
  };
  GRADWIRE_ASSIGN_OR_RETURN(const std::string text, files->Read(manifest_path, kMaxManifestBytes));
  absl::StatusOr<Manifest> manifest = DecodeManifest(text);
  if (!manifest.ok()) return damaged(manifest_path, manifest.status().message());
  if (manifest->snapshot.bytes > MaxSnapshotBytes(job)) {
    return damaged(manifest_path, absl::StrCat(manifest->snapshot.bytes,
                                               " bytes are more than a snapshot of this job has"));
  }
  GRADWIRE_ASSIGN_OR_RETURN(const std::string bytes,
                            ReadDescribed(files, path, manifest->snapshot));
  absl::StatusOr<Replica::Contents> contents = DecodeSnapshot(job, bytes);
  if (!contents.ok()) return damaged(path, contents.status().message());
  if (manifest->version != version || contents->version != version ||
      contents->chain_hash != manifest->chain_hash) {
    return damaged(path, absl::StrCat("of version ", contents->version, ", chain hash ",
                                      HashText(contents->chain_hash), "; its manifest is of ",
                                      manifest->version, ", ", HashText(manifest->chain_hash),
                                      ", its name of ", version));
  }
  GRADWIRE_ASSIGN_OR_RETURN(
      std::string server,
      ReadDescribed(files, SnapshotPath(state_dir, version, kServer), manifest->server));
  return LoadedSnapshot{*std::move(manifest), *std::move(contents), std::move(server)};
}

void Snapshots::Forget(uint64_t version) {
  MutexLock lock(&mu_);
  files_.erase(version);
}

bool Snapshots::publishing() const {
  MutexLock lock(&mu_);
  return publishing_;
}

std::unique_ptr<SnapshotWriter> Snapshots::Begin(const SnapshotPoint& point) {
  Wait();
  absl::StatusOr<std::unique_ptr<SnapshotWriter>> writer = NewWriter(point);
  if (writer.ok()) return *std::move(writer);
  LogWarning(
      absl::StrCat("no snapshot of version ", point.version, ": ", writer.status().message()));
  return nullptr;
}

absl::StatusOr<std::unique_ptr<SnapshotWriter>> Snapshots::NewWriter(
    const SnapshotPoint& point) const {
  return SnapshotWriter::Begin(
      options_.files,
      {.snapshot = PathOf(point.version, absl::StrCat(kSnapshot, kPartial)),
       .server = PathOf(point.version, absl::StrCat(kServer, kPartial))},
      *job_, point);
}

void Snapshots::Finish(std::unique_ptr<SnapshotWriter> writer, const Replica& replica,
                       absl::Span<const absl::string_view> server_state) {
  writer->WriteRest(replica, server_state);
  {
    MutexLock lock(&mu_);
    publishing_ = true;
  }
  publisher_ = std::thread([this, writer = std::move(writer)]() mutable {
    const absl::Status status = Publish(writer.get());
    if (!status.ok()) {
      LogWarning(absl::StrCat("the snapshot of version ", writer->point().version,
                              " failed: ", status.message(), "; the log keeps what it has"));
    }
    MutexLock lock(&mu_);
    publishing_ = false;
  });
}

absl::Status Snapshots::Publish(SnapshotWriter* writer) {
  FileSystem* const files = options_.files;
  const uint64_t version = writer->point().version;
  const SnapshotPaths& written = writer->paths();
  const auto publish = [&]() -> absl::Status {
    GRADWIRE_RETURN_IF_ERROR(writer->Sync());
    Manifest manifest;
    manifest.version = version;
    manifest.chain_hash = writer->point().chain_hash;
    GRADWIRE_ASSIGN_OR_RETURN(manifest.snapshot, DescribeFile(files, written.snapshot));
    GRADWIRE_ASSIGN_OR_RETURN(manifest.server, DescribeFile(files, written.server));
    GRADWIRE_RETURN_IF_ERROR(files->Rename(written.server, PathOf(version, kServer)));
    GRADWIRE_RETURN_IF_ERROR(files->Rename(written.snapshot, PathOf(version, kSnapshot)));
    GRADWIRE_RETURN_IF_ERROR(files->SyncFolder(folder_));
    return WriteFileAtomically(PathOf(version, kManifest), EncodeManifest(manifest), files);
  };
  const absl::Status status = publish();
  if (!status.ok()) {
    for (const std::string& path :
         {written.snapshot, written.server, PathOf(version, kSnapshot), PathOf(version, kServer)}) {
      RemoveOrWarn(files, path);
    }
    return status;
  }
  MutexLock lock(&mu_);
  files_[version] = {.version = version,
                     .chain_hash = writer->point().chain_hash,
                     .path = PathOf(version, kSnapshot)};
  return absl::OkStatus();
}

void Snapshots::Wait() {
  if (publisher_.joinable()) publisher_.join();
}

absl::Status Snapshots::Save(const Replica& replica,
                             absl::Span<const absl::string_view> server_state) {
  Wait();
  const std::optional<File> newest = Newest(replica.version());
  if (newest.has_value() && newest->version == replica.version()) return absl::OkStatus();
  GRADWIRE_ASSIGN_OR_RETURN(const std::unique_ptr<SnapshotWriter> writer,
                            NewWriter(PointOf(replica)));
  for (size_t b = 0; b < job_->layout.blocks(); ++b) writer->WriteBlock(replica, b);
  writer->WriteRest(replica, server_state);
  return Publish(writer.get());
}

absl::Status Snapshots::SaveFinal(const Replica& replica) const {
  return WriteModel(replica, options_.state_dir + "/final.safetensors", options_.files);
}

void Snapshots::Retain(uint64_t needed) {
  std::vector<uint64_t> old;
  {
    MutexLock lock(&mu_);
    auto keep = files_.upper_bound(needed);
    keep = keep == files_.begin() ? files_.end() : std::prev(keep);
    size_t newer = files_.size();
    for (auto it = files_.begin(); it != files_.end();) {
      if (newer-- <= options_.kept || it == keep) {
        ++it;
        continue;
      }
      old.push_back(it->first);
      it = files_.erase(it);
    }
  }
  for (const uint64_t version : old) {
    for (const char* ending : {kManifest, kSnapshot, kServer}) {
      RemoveOrWarn(options_.files, PathOf(version, ending));
    }
  }
}

}  // namespace gradwire
