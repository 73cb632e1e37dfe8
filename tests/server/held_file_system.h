// SPDX-License-Identifier: Apache-2.0
// A disk that is busy for as long as a test says: syncs of snapshots wait.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "common/base/file_system.h"
#include "common/base/mutex.h"

namespace gradwire {

// The system's files, but that WritableFile::Sync of a ".safetensors" waits while Hold() is the
// last word.  Thread-safe.  Let go before whoever syncs is destroyed.
class HeldFileSystem final : public FileSystem {
 public:
  void Hold() ABSL_LOCKS_EXCLUDED(mu_) { Set(true); }
  void LetGo() ABSL_LOCKS_EXCLUDED(mu_) { Set(false); }

  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override {
    return Wrap(path, system_->Create(path));
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenToAppend(const std::string& path) override {
    return Wrap(path, system_->OpenToAppend(path));
  }
  absl::StatusOr<std::unique_ptr<ReadableFile>> OpenToRead(const std::string& path) override {
    return system_->OpenToRead(path);
  }
  absl::StatusOr<std::string> Read(const std::string& path, size_t max_bytes) override {
    return system_->Read(path, max_bytes);
  }
  absl::StatusOr<std::string> ReadRange(const std::string& path, uint64_t offset,
                                        size_t size) override {
    return system_->ReadRange(path, offset, size);
  }
  absl::StatusOr<uint64_t> Size(const std::string& path) override { return system_->Size(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override {
    return system_->List(folder);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return system_->Rename(from, to);
  }
  absl::Status Remove(const std::string& path) override { return system_->Remove(path); }
  absl::Status SyncFolder(const std::string& folder) override {
    return system_->SyncFolder(folder);
  }
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    return system_->Lock(path);
  }

 private:
  class HeldFile final : public WritableFile {
   public:
    HeldFile(HeldFileSystem* files, std::unique_ptr<WritableFile> file)
        : files_(files), file_(std::move(file)) {}
    absl::Status Append(absl::string_view bytes) override { return file_->Append(bytes); }
    absl::Status WriteAt(uint64_t offset, absl::string_view bytes) override {
      return file_->WriteAt(offset, bytes);
    }
    absl::Status Truncate(uint64_t size) override { return file_->Truncate(size); }
    absl::Status Sync() override {
      files_->Wait();
      return file_->Sync();
    }
    uint64_t size() const override { return file_->size(); }

   private:
    HeldFileSystem* const files_;
    const std::unique_ptr<WritableFile> file_;
  };

  absl::StatusOr<std::unique_ptr<WritableFile>> Wrap(
      const std::string& path, absl::StatusOr<std::unique_ptr<WritableFile>> file) {
    if (!file.ok() || !absl::StrContains(path, ".safetensors")) return file;
    return std::make_unique<HeldFile>(this, *std::move(file));
  }
  absl::StatusOr<bool> MakeFolder(const std::string& folder) override {
    const absl::Status made = system_->MakeFolders(folder);
    if (!made.ok()) return made;
    return true;
  }
  void Set(bool held) {
    {
      MutexLock lock(&mu_);
      held_ = held;
    }
    changed_.NotifyAll();
  }
  void Wait() {
    MutexLock lock(&mu_);
    while (held_) changed_.Wait(&mu_);
  }

  FileSystem* const system_ = PosixFileSystem();
  Mutex mu_;
  CondVar changed_;
  bool held_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace gradwire
