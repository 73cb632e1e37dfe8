// SPDX-License-Identifier: Apache-2.0
// Implementation of crashing_file_system.h.
#include "tests/common/replica/crashing_file_system.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

absl::Status NoSuch(const std::string& path) {
  return absl::NotFoundError(absl::StrCat("there is no ", path));
}

}  // namespace

class CrashingFile final : public WritableFile {
 public:
  CrashingFile(CrashingFileSystem* files, std::string path, CrashingFileSystem::Entry inode)
      : files_(files), path_(std::move(path)), inode_(std::move(inode)) {}

  absl::Status Append(absl::string_view bytes) override {
    return files_->Write(path_, inode_.get(), size(), bytes);
  }
  absl::Status WriteAt(uint64_t offset, absl::string_view bytes) override {
    return files_->Write(path_, inode_.get(), offset, bytes);
  }
  absl::Status Truncate(uint64_t size) override {
    return files_->Truncate(path_, inode_.get(), size);
  }
  absl::Status Sync() override { return files_->Sync(path_, inode_.get()); }
  uint64_t size() const override { return files_->SizeOf(*inode_); }

 private:
  CrashingFileSystem* const files_;
  const std::string path_;
  const CrashingFileSystem::Entry inode_;
};

class CrashingReader final : public ReadableFile {
 public:
  CrashingReader(const CrashingFileSystem* files, std::string path, CrashingFileSystem::Entry inode,
                 uint64_t size)
      : files_(files), path_(std::move(path)), inode_(std::move(inode)), size_(size) {}

  absl::StatusOr<std::string> ReadAt(uint64_t offset, size_t size) const override {
    return files_->ReadFrom(path_, *inode_, offset, size);
  }
  uint64_t size() const override { return size_; }

 private:
  const CrashingFileSystem* const files_;
  const std::string path_;
  const CrashingFileSystem::Entry inode_;
  const uint64_t size_;
};

class CrashingLock final : public FileLock {
 public:
  CrashingLock(CrashingFileSystem* files, std::string path)
      : files_(files), path_(std::move(path)) {}
  ~CrashingLock() override { files_->Unlock(path_); }

 private:
  CrashingFileSystem* const files_;
  const std::string path_;
};

CrashingFileSystem::CrashingFileSystem() { folders_["/"]; }

void CrashingFileSystem::CrashAt(size_t n, bool torn) {
  MutexLock lock(&mu_);
  crash_at_ = n;
  torn_ = torn;
}

void CrashingFileSystem::FailSyncAt(size_t n) {
  MutexLock lock(&mu_);
  fail_sync_at_ = n;
}

void CrashingFileSystem::FailFolderSyncAt(size_t n) {
  MutexLock lock(&mu_);
  fail_folder_sync_at_ = n;
}

void CrashingFileSystem::SetSpace(std::optional<uint64_t> bytes) {
  MutexLock lock(&mu_);
  space_ = bytes;
}

size_t CrashingFileSystem::operations() const {
  MutexLock lock(&mu_);
  return operations_;
}

size_t CrashingFileSystem::syncs() const {
  MutexLock lock(&mu_);
  return syncs_;
}

size_t CrashingFileSystem::folder_syncs() const {
  MutexLock lock(&mu_);
  return folder_syncs_;
}

bool CrashingFileSystem::crashed() const {
  MutexLock lock(&mu_);
  return crash_at_.has_value() && operations_ > *crash_at_;
}

absl::Status CrashingFileSystem::Count(const std::string& what, bool* torn) {
  const size_t n = operations_++;
  if (!crash_at_.has_value() || n < *crash_at_) return absl::OkStatus();
  if (torn != nullptr) *torn = torn_ && n == *crash_at_;
  return absl::UnavailableError(absl::StrCat("cannot ", what, ": the process is dead"));
}

void CrashingFileSystem::Apply(const Change& change, std::string* bytes) {
  if (!change.is_write) {
    bytes->resize(change.offset);
    return;
  }
  const uint64_t end = change.offset + change.bytes.size();
  if (bytes->size() < end) bytes->resize(end);
  bytes->replace(change.offset, change.bytes.size(), change.bytes);
}

void CrashingFileSystem::Apply(const NameChange& change, Names* names) {
  if (!change.remove.empty()) names->erase(change.remove);
  if (!change.add.empty()) (*names)[change.add] = change.entry;
}

void CrashingFileSystem::ChangeName(const NameChange& change, Folder* folder) {
  Apply(change, &folder->seen);
  folder->unsynced.push_back(change);
}

absl::StatusOr<CrashingFileSystem::Folder*> CrashingFileSystem::FindFolder(
    const std::string& folder) {
  const auto found = folders_.find(folder);
  if (found == folders_.end()) return NoSuch(folder);
  return &found->second;
}

absl::StatusOr<CrashingFileSystem::Entry> CrashingFileSystem::FindFile(const std::string& path) {
  GRADWIRE_ASSIGN_OR_RETURN(const Folder* const folder, FindFolder(FolderOf(path)));
  const auto found = folder->seen.find(NameOf(path));
  if (found == folder->seen.end()) return NoSuch(path);
  if (found->second == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is a folder"));
  }
  return found->second;
}

absl::Status CrashingFileSystem::Write(const std::string& path, Inode* inode, uint64_t offset,
                                       absl::string_view bytes) {
  MutexLock lock(&mu_);
  bool torn = false;
  absl::Status status = Count(absl::StrCat("write ", bytes.size(), " bytes to ", path), &torn);
  if (!status.ok()) bytes = bytes.substr(0, torn ? bytes.size() / 2 : 0);
  if (status.ok() && space_.has_value() && *space_ < bytes.size()) {
    status = absl::ResourceExhaustedError(
        absl::StrCat("cannot write ", bytes.size(), " bytes to ", path, ": no space"));
    bytes = bytes.substr(0, *space_);
  }
  if (space_.has_value()) *space_ -= std::min<uint64_t>(*space_, bytes.size());
  if (bytes.empty()) return status;
  const Change change = {.is_write = true, .offset = offset, .bytes = std::string(bytes)};
  Apply(change, &inode->seen);
  inode->unsynced.push_back(change);
  return status;
}

absl::Status CrashingFileSystem::Truncate(const std::string& path, Inode* inode, uint64_t size) {
  MutexLock lock(&mu_);
  GRADWIRE_RETURN_IF_ERROR(Count(absl::StrCat("cut ", path)));
  const Change change = {.is_write = false, .offset = size, .bytes = {}};
  Apply(change, &inode->seen);
  inode->unsynced.push_back(change);
  return absl::OkStatus();
}

absl::Status CrashingFileSystem::Sync(const std::string& path, Inode* inode) {
  MutexLock lock(&mu_);
  GRADWIRE_RETURN_IF_ERROR(Count(absl::StrCat("sync ", path)));
  const std::vector<Change> changes = std::exchange(inode->unsynced, {});
  if (fail_sync_at_ == syncs_++) {
    return absl::UnknownError(absl::StrCat("cannot sync ", path, ": input/output error"));
  }
  for (const Change& change : changes) Apply(change, &inode->on_disk);
  return absl::OkStatus();
}

uint64_t CrashingFileSystem::SizeOf(const Inode& inode) const {
  MutexLock lock(&mu_);
  return inode.seen.size();
}

absl::StatusOr<std::unique_ptr<WritableFile>> CrashingFileSystem::Create(const std::string& path) {
  MutexLock lock(&mu_);
  GRADWIRE_RETURN_IF_ERROR(Count(absl::StrCat("create ", path)));
  GRADWIRE_ASSIGN_OR_RETURN(Folder* const folder, FindFolder(FolderOf(path)));
  absl::StatusOr<Entry> file = FindFile(path);
  if (absl::IsFailedPrecondition(file.status())) return file.status();
  if (file.ok()) {
    (*file)->seen.clear();
    (*file)->unsynced.push_back({.is_write = false, .offset = 0, .bytes = {}});
  } else {
    file = std::make_shared<Inode>();
    (*file)->id = next_inode_++;
    ChangeName({.remove = {}, .add = NameOf(path), .entry = *file}, folder);
  }
  return std::make_unique<CrashingFile>(this, path, *file);
}

absl::StatusOr<std::unique_ptr<WritableFile>> CrashingFileSystem::OpenToAppend(
    const std::string& path) {
  MutexLock lock(&mu_);
  GRADWIRE_ASSIGN_OR_RETURN(const Entry file, FindFile(path));
  return std::make_unique<CrashingFile>(this, path, file);
}

absl::StatusOr<std::string> CrashingFileSystem::Read(const std::string& path, size_t max_bytes) {
  MutexLock lock(&mu_);
  GRADWIRE_ASSIGN_OR_RETURN(const Entry file, FindFile(path));
  if (file->seen.size() <= max_bytes) return file->seen;
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": more than ", max_bytes, " bytes, the limit"));
}

absl::StatusOr<std::string> CrashingFileSystem::ReadRange(const std::string& path, uint64_t offset,
                                                          size_t size) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::unique_ptr<ReadableFile> file, OpenToRead(path));
  return file->ReadAt(offset, size);
}

absl::StatusOr<std::unique_ptr<ReadableFile>> CrashingFileSystem::OpenToRead(
    const std::string& path) {
  MutexLock lock(&mu_);
  GRADWIRE_ASSIGN_OR_RETURN(const Entry file, FindFile(path));
  return std::make_unique<CrashingReader>(this, path, file, file->seen.size());
}

absl::StatusOr<std::string> CrashingFileSystem::ReadFrom(const std::string& path,
                                                         const Inode& inode, uint64_t offset,
                                                         size_t size) const {
  MutexLock lock(&mu_);
  if (offset > inode.seen.size() || size > inode.seen.size() - offset) {
    return absl::OutOfRangeError(absl::StrCat(path, " ends before"));
  }
  return inode.seen.substr(offset, size);
}

absl::StatusOr<uint64_t> CrashingFileSystem::Size(const std::string& path) {
  MutexLock lock(&mu_);
  GRADWIRE_ASSIGN_OR_RETURN(const Entry file, FindFile(path));
  return uint64_t{file->seen.size()};
}

absl::StatusOr<std::vector<std::string>> CrashingFileSystem::List(const std::string& folder) {
  MutexLock lock(&mu_);
  GRADWIRE_ASSIGN_OR_RETURN(const Folder* const found, FindFolder(folder));
  std::vector<std::string> names;
  for (const auto& [name, entry] : found->seen) names.push_back(name);
  return names;
}

absl::Status CrashingFileSystem::Rename(const std::string& from, const std::string& to) {
  MutexLock lock(&mu_);
  GRADWIRE_RETURN_IF_ERROR(Count(absl::StrCat("rename ", from)));
  GRADWIRE_ASSIGN_OR_RETURN(const Entry file, FindFile(from));
  GRADWIRE_ASSIGN_OR_RETURN(Folder* const source, FindFolder(FolderOf(from)));
  GRADWIRE_ASSIGN_OR_RETURN(Folder* const target, FindFolder(FolderOf(to)));
  if (source == target) {
    ChangeName({.remove = NameOf(from), .add = NameOf(to), .entry = file}, target);
    return absl::OkStatus();
  }
  ChangeName({.remove = {}, .add = NameOf(to), .entry = file}, target);
  ChangeName({.remove = NameOf(from), .add = {}, .entry = {}}, source);
  return absl::OkStatus();
}

absl::Status CrashingFileSystem::Remove(const std::string& path) {
  MutexLock lock(&mu_);
  GRADWIRE_RETURN_IF_ERROR(Count(absl::StrCat("remove ", path)));
  GRADWIRE_RETURN_IF_ERROR(FindFile(path).status());
  ChangeName({.remove = NameOf(path), .add = {}, .entry = {}}, &folders_[FolderOf(path)]);
  return absl::OkStatus();
}

absl::Status CrashingFileSystem::SyncFolder(const std::string& folder) {
  MutexLock lock(&mu_);
  GRADWIRE_RETURN_IF_ERROR(Count(absl::StrCat("sync ", folder)));
  GRADWIRE_ASSIGN_OR_RETURN(Folder* const found, FindFolder(folder));
  if (fail_folder_sync_at_ == folder_syncs_++) {
    return absl::UnknownError(absl::StrCat("cannot sync ", folder, ": input/output error"));
  }
  found->on_disk = found->seen;
  found->unsynced.clear();
  return absl::OkStatus();
}

absl::StatusOr<bool> CrashingFileSystem::MakeFolder(const std::string& folder) {
  MutexLock lock(&mu_);
  GRADWIRE_RETURN_IF_ERROR(Count(absl::StrCat("make ", folder)));
  if (folders_.count(folder) != 0) return false;
  GRADWIRE_ASSIGN_OR_RETURN(Folder* const above, FindFolder(FolderOf(folder)));
  ChangeName({.remove = {}, .add = NameOf(folder), .entry = nullptr}, above);
  folders_[folder];
  return true;
}

absl::StatusOr<std::unique_ptr<FileLock>> CrashingFileSystem::Lock(const std::string& path) {
  MutexLock lock(&mu_);
  if (!locks_.insert(path).second) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is held by this process"));
  }
  return std::make_unique<CrashingLock>(this, path);
}

void CrashingFileSystem::Unlock(const std::string& path) {
  MutexLock lock(&mu_);
  locks_.erase(path);
}

}  // namespace gradwire
