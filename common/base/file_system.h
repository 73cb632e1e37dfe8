// SPDX-License-Identifier: Apache-2.0
// The disk, as a dependency: tests bring one that loses what was not synced.
//
// Two things must be synced before they last over a power cut: a file's bytes (WritableFile::Sync)
// and its name (FileSystem::SyncFolder of the folder it is in, after Create, Rename or Remove).
// Errors name the path, what was wanted and the system's reason: NotFound, ResourceExhausted for
// a full disk or quota, PermissionDenied, and so on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwire {

// Closed by its destructor, without a sync.  WriteAt of different bytes may run on several threads
// at once; everything else wants one caller at a time.  Not to be used after its FileSystem.
class WritableFile {
 public:
  virtual ~WritableFile() = default;

  // At the end.  After an error some of the bytes may be there: size() counts them.
  virtual absl::Status Append(absl::string_view bytes) = 0;
  // At `offset`, beyond the end too: what lies between reads as zeros.
  virtual absl::Status WriteAt(uint64_t offset, absl::string_view bytes) = 0;
  // Cuts the file, or makes it longer by zeros.
  virtual absl::Status Truncate(uint64_t size) = 0;
  // Makes bytes and size last.  After an error they may be lost, even if a later Sync succeeds:
  // write them into another file.
  virtual absl::Status Sync() = 0;
  virtual uint64_t size() const = 0;
};

// Closed by its destructor.  Its bytes stay readable when its name is removed or given to another
// file.  Thread-safe.  Not to be used after its FileSystem.
class ReadableFile {
 public:
  virtual ~ReadableFile() = default;

  // Exactly the bytes [offset, offset + size); OutOfRange when the file ends before.
  virtual absl::StatusOr<std::string> ReadAt(uint64_t offset, size_t size) const = 0;
  virtual uint64_t size() const = 0;  // when it was opened
};

// Held until destroyed.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

// Thread-safe.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // A new file, or the one there, emptied.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) = 0;
  // NotFound where there is none.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> OpenToAppend(const std::string& path) = 0;

  // NotFound where there is none.
  virtual absl::StatusOr<std::unique_ptr<ReadableFile>> OpenToRead(const std::string& path) = 0;
  // The whole file; InvalidArgument beyond `max_bytes`.
  virtual absl::StatusOr<std::string> Read(const std::string& path, size_t max_bytes) = 0;
  // Exactly the bytes [offset, offset + size); OutOfRange when the file ends before.
  virtual absl::StatusOr<std::string> ReadRange(const std::string& path, uint64_t offset,
                                                size_t size) = 0;
  virtual absl::StatusOr<uint64_t> Size(const std::string& path) = 0;
  // Names (not paths) of files and folders in it, sorted.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& folder) = 0;

  // Replaces the file `to` at once: whoever looks sees the old or the new one.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Remove(const std::string& path) = 0;
  virtual absl::Status SyncFolder(const std::string& folder) = 0;

  // FailedPrecondition, naming the holder, when another process (or this one) holds it.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;

  // Makes the folder and those above it where they are missing, and makes their names last.
  absl::Status MakeFolders(const std::string& folder);

 private:
  // True: made.  False: it is there already.
  virtual absl::StatusOr<bool> MakeFolder(const std::string& folder) = 0;
};

// The operating system's files; lives for ever.
FileSystem* PosixFileSystem();

// The folder that `path` is in: "." when it names none.
std::string FolderOf(const std::string& path);

}  // namespace gradwire
