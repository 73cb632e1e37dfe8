// SPDX-License-Identifier: Apache-2.0
// A disk in memory that crashes on demand and forgets what was not synced.
//
// What the process sees (as the page cache does) and what is on disk are kept apart: of a file the
// bytes as of its last Sync and every write, cut and growth since; of a folder the names as of its
// last SyncFolder and every change since.  After a kill all that was written is there; after a
// power cut, of every file and folder, any prefix of its changes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/base/file_system.h"
#include "common/base/mutex.h"

namespace gradwire {

// Thread-safe.
class CrashingFileSystem final : public FileSystem {
 public:
  // With the folder "/" and nothing else.
  CrashingFileSystem();

  // --- What goes wrong.  Counts begin at 0, with the calls of this object.
  // Changing calls (all but reads and Lock): the n-th and all later ones fail, the process is
  // dead.  With `torn`, half of the bytes are written if the n-th is a write.
  void CrashAt(size_t n, bool torn);
  // The n-th WritableFile::Sync fails, once, and what it was to make last never will be on disk.
  void FailSyncAt(size_t n);
  void FailFolderSyncAt(size_t n);  // once; the names are tried again by the next one
  // So many bytes may still be written; then writes stop where the space ends.
  void SetSpace(std::optional<uint64_t> bytes);

  size_t operations() const;  // changing calls so far
  size_t syncs() const;       // calls of WritableFile::Sync so far
  size_t folder_syncs() const;
  bool crashed() const;

  // --- What is there afterwards, as a new disk without faults.
  // All that was written; what was not synced may still be lost by a power cut later.
  std::unique_ptr<CrashingFileSystem> AfterKill() const;
  // For every file and folder with unsynced changes, which of their prefixes is on disk: position
  // 0 is none.  Files count torn last writes as well.
  using PowerCut = std::vector<size_t>;
  // All combinations where they are few, else none, all, and every prefix of each one with none
  // and with all of the others.
  std::vector<PowerCut> PowerCuts() const;
  std::unique_ptr<CrashingFileSystem> AfterPowerCut(const PowerCut& cut) const;

  // FileSystem.
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenToAppend(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<ReadableFile>> OpenToRead(const std::string& path) override;
  absl::StatusOr<std::string> Read(const std::string& path, size_t max_bytes) override;
  absl::StatusOr<std::string> ReadRange(const std::string& path, uint64_t offset,
                                        size_t size) override;
  absl::StatusOr<uint64_t> Size(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status SyncFolder(const std::string& folder) override;
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override;

 private:
  friend class CrashingFile;
  friend class CrashingReader;
  friend class CrashingLock;

  // A write of bytes at an offset, or a change of the length.
  struct Change {
    bool is_write = false;
    uint64_t offset = 0;  // or the new length
    std::string bytes;
  };
  struct Inode {
    size_t id = 0;
    std::string seen;     // by the process
    std::string on_disk;  // for certain
    std::vector<Change> unsynced;
  };
  // A file, or (null) a folder.
  using Entry = std::shared_ptr<Inode>;
  using Names = std::map<std::string, Entry>;
  // Of a rename the old name goes and the new one comes at once.
  struct NameChange {
    std::string remove;  // empty: none
    std::string add;     // empty: none
    Entry entry;
  };
  struct Folder {
    Names seen;
    Names on_disk;
    std::vector<NameChange> unsynced;
  };
  // One prefix of a file's changes: `whole` of them, and of the next write `bytes`, with zeros up
  // to its end if `grown`.
  struct Prefix {
    size_t whole = 0;
    size_t bytes = 0;
    bool grown = false;
  };

  static void Apply(const Change& change, std::string* bytes);
  static void Apply(const NameChange& change, Names* names);
  static std::vector<Prefix> PrefixesOf(const Inode& inode);
  static std::string OnDisk(const Inode& inode, const Prefix& prefix);

  absl::StatusOr<bool> MakeFolder(const std::string& folder) override;

  // Counts a changing call; fails when the process is dead.  `*torn`: half of it is done.
  absl::Status Count(const std::string& what, bool* torn = nullptr)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Write(const std::string& path, Inode* inode, uint64_t offset,
                     absl::string_view bytes);
  absl::Status Truncate(const std::string& path, Inode* inode, uint64_t size);
  absl::Status Sync(const std::string& path, Inode* inode);
  absl::StatusOr<std::string> ReadFrom(const std::string& path, const Inode& inode, uint64_t offset,
                                       size_t size) const;
  uint64_t SizeOf(const Inode& inode) const;
  void Unlock(const std::string& path);

  absl::StatusOr<Folder*> FindFolder(const std::string& folder) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<Entry> FindFile(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static void ChangeName(const NameChange& change, Folder* folder);
  // Files with unsynced changes that are under some name, seen or on disk.
  std::map<size_t, Entry> UnsyncedFiles() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // How many prefixes each has: the folders by path, then the files.
  std::vector<size_t> Choices() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  std::map<std::string, Folder> folders_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> locks_ ABSL_GUARDED_BY(mu_);
  size_t next_inode_ ABSL_GUARDED_BY(mu_) = 0;
  size_t operations_ ABSL_GUARDED_BY(mu_) = 0;
  size_t syncs_ ABSL_GUARDED_BY(mu_) = 0;
  size_t folder_syncs_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<size_t> crash_at_ ABSL_GUARDED_BY(mu_);
  bool torn_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<size_t> fail_sync_at_ ABSL_GUARDED_BY(mu_);
  std::optional<size_t> fail_folder_sync_at_ ABSL_GUARDED_BY(mu_);
  std::optional<uint64_t> space_ ABSL_GUARDED_BY(mu_);
};

// A disk after a crash, and how it came to be: for SCOPED_TRACE.
struct Crash {
  std::unique_ptr<CrashingFileSystem> disk;
  bool power_cut = false;  // else a kill
  std::string text;
};

// Runs `run` on a new disk once to count its changing calls; then once for every one of them as
// the place where it dies, and calls `check` with everything that may be there afterwards.  What
// `run` noted in the caller's variables is of the same run.
void ForEveryCrash(const std::function<void(CrashingFileSystem*)>& run,
                   const std::function<void(const Crash&)>& check);

}  // namespace gradwire
