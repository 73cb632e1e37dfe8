// SPDX-License-Identifier: Apache-2.0
// Implementation of file_system.h on POSIX calls.
#include "common/base/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

constexpr mode_t kFileMode = 0644;
constexpr mode_t kFolderMode = 0755;
constexpr size_t kReadChunk = size_t{1} << 20;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;

  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }

 private:
  int fd_;
};

absl::Status Failed(absl::string_view what, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", what, " ", path));
}

Descriptor Open(const std::string& path, int flags) {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, kFileMode);
  } while (fd < 0 && errno == EINTR);
  return Descriptor(fd);
}

// As many of [offset, offset + size) as there are, or -1.
ssize_t ReadAll(int fd, char* bytes, size_t size, uint64_t offset) {
  size_t got = 0;
  while (got < size) {
    const ssize_t count = ::pread(fd, bytes + got, size - got, static_cast<off_t>(offset + got));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return -1;
    if (count == 0) break;
    got += static_cast<size_t>(count);
  }
  return static_cast<ssize_t>(got);
}

class PosixFile final : public WritableFile {
 public:
  PosixFile(std::string path, Descriptor file, uint64_t size)
      : path_(std::move(path)), file_(std::move(file)), size_(size) {}

  absl::Status Append(absl::string_view bytes) override { return WriteAt(size_, bytes); }

  absl::Status WriteAt(uint64_t offset, absl::string_view bytes) override {
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t count = ::pwrite(file_.get(), bytes.data() + done, bytes.size() - done,
                                     static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) {
        return Failed(absl::StrCat("write ", bytes.size(), " bytes at offset ", offset, " of"),
                      path_);
      }
      done += static_cast<size_t>(count);
      Grow(offset + done);
    }
    return absl::OkStatus();
  }

  absl::Status Truncate(uint64_t size) override {
    if (::ftruncate(file_.get(), static_cast<off_t>(size)) != 0) {
      return Failed(absl::StrCat("set to ", size, " bytes the length of"), path_);
    }
    size_ = size;
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    if (::fdatasync(file_.get()) != 0) {
      return Failed(absl::StrCat("sync ", size(), " bytes of"), path_);
    }
    return absl::OkStatus();
  }

  uint64_t size() const override { return size_; }

 private:
  void Grow(uint64_t end) {
    uint64_t size = size_;
    while (size < end && !size_.compare_exchange_weak(size, end)) {
    }
  }

  const std::string path_;
  const Descriptor file_;
  std::atomic<uint64_t> size_;
};

class PosixReader final : public ReadableFile {
 public:
  PosixReader(std::string path, Descriptor file, uint64_t size)
      : path_(std::move(path)), file_(std::move(file)), size_(size) {}

  absl::StatusOr<std::string> ReadAt(uint64_t offset, size_t size) const override {
    std::string bytes(size, '\0');
    const ssize_t got = ReadAll(file_.get(), &bytes[0], size, offset);
    if (got < 0) {
      return Failed(absl::StrCat("read ", size, " bytes at offset ", offset, " of"), path_);
    }
    if (static_cast<size_t>(got) != size) {
      return absl::OutOfRangeError(absl::StrCat(path_, ": wanted ", size, " bytes at offset ",
                                                offset, ", but only ", got, " are there"));
    }
    return bytes;
  }

  uint64_t size() const override { return size_; }

 private:
  const std::string path_;
  const Descriptor file_;
  const uint64_t size_;
};

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(Descriptor file) : file_(std::move(file)) {}

 private:
  const Descriptor file_;  // closing it unlocks
};

std::string ThisProcess() {
  char host[256] = {};
  if (::gethostname(host, sizeof(host) - 1) != 0) host[0] = '\0';
  return absl::StrCat("process ", ::getpid(), " on host ", host);
}

class PosixFiles final : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override {
    Descriptor file = Open(path, O_WRONLY | O_CREAT | O_TRUNC);
    if (!file.open()) return Failed("create", path);
    return std::make_unique<PosixFile>(path, std::move(file), 0);
  }

  absl::StatusOr<std::unique_ptr<WritableFile>> OpenToAppend(const std::string& path) override {
    Descriptor file = Open(path, O_WRONLY);  // no O_APPEND: pwrite would ignore its offset
    struct stat info;
    if (!file.open() || ::fstat(file.get(), &info) != 0) return Failed("open for writing", path);
    return std::make_unique<PosixFile>(path, std::move(file), static_cast<uint64_t>(info.st_size));
  }

  absl::StatusOr<std::unique_ptr<ReadableFile>> OpenToRead(const std::string& path) override {
    Descriptor file = Open(path, O_RDONLY);
    struct stat info;
    if (!file.open() || ::fstat(file.get(), &info) != 0) return Failed("open", path);
    return std::make_unique<PosixReader>(path, std::move(file),
                                         static_cast<uint64_t>(info.st_size));
  }

  absl::StatusOr<std::string> Read(const std::string& path, size_t max_bytes) override {
    const Descriptor file = Open(path, O_RDONLY);
    if (!file.open()) return Failed("open", path);
    std::string bytes;
    for (;;) {
      const size_t before = bytes.size();
      bytes.resize(before + kReadChunk);
      const ssize_t got = ReadAll(file.get(), &bytes[before], kReadChunk, before);
      if (got < 0) return Failed("read", path);
      bytes.resize(before + static_cast<size_t>(got));
      if (bytes.size() > max_bytes) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": more than ", max_bytes, " bytes, the limit"));
      }
      if (bytes.size() < before + kReadChunk) return bytes;
    }
  }

  absl::StatusOr<std::string> ReadRange(const std::string& path, uint64_t offset,
                                        size_t size) override {
    GRADWIRE_ASSIGN_OR_RETURN(const std::unique_ptr<ReadableFile> file, OpenToRead(path));
    return file->ReadAt(offset, size);
  }

  absl::StatusOr<uint64_t> Size(const std::string& path) override {
    struct stat info;
    if (::stat(path.c_str(), &info) != 0) return Failed("see the size of", path);
    return static_cast<uint64_t>(info.st_size);
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override {
    DIR* const entries = ::opendir(folder.c_str());
    if (entries == nullptr) return Failed("list", folder);
    std::vector<std::string> names;
    errno = 0;  // readdir tells its errors only so
    while (const dirent* entry = ::readdir(entries)) {
      const absl::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
      errno = 0;
    }
    const absl::Status status = errno == 0 ? absl::OkStatus() : Failed("list", folder);
    ::closedir(entries);
    if (!status.ok()) return status;
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (std::rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
    return Failed(absl::StrCat("rename ", from, " to"), to);
  }

  absl::Status Remove(const std::string& path) override {
    return ::unlink(path.c_str()) == 0 ? absl::OkStatus() : Failed("remove", path);
  }

  absl::Status SyncFolder(const std::string& folder) override {
    const Descriptor file = Open(folder, O_RDONLY | O_DIRECTORY);
    if (!file.open() || ::fsync(file.get()) != 0) return Failed("sync", folder);
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    Descriptor file = Open(path, O_RDWR | O_CREAT);
    if (!file.open()) return Failed("open to lock", path);
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return Failed("lock", path);
      char holder[256] = {};
      const bool known = ReadAll(file.get(), holder, sizeof(holder) - 1, 0) > 0;
      return absl::FailedPreconditionError(
          absl::StrCat(path, " is held by ", known ? holder : "an unknown process",
                       ": end that process first, or use another folder"));
    }
    // The text only helps people: without room for it the lock is as good.
    PosixFile text(path, Descriptor(::fcntl(file.get(), F_DUPFD_CLOEXEC, 0)), 0);
    if (text.Truncate(0).ok()) text.Append(ThisProcess()).IgnoreError();
    return std::make_unique<PosixLock>(std::move(file));
  }

 private:
  absl::StatusOr<bool> MakeFolder(const std::string& folder) override {
    if (::mkdir(folder.c_str(), kFolderMode) == 0) return true;
    if (errno != EEXIST) return Failed("make the folder", folder);
    struct stat info;
    if (::stat(folder.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return false;
    errno = ENOTDIR;
    return Failed("make the folder", folder);
  }
};

}  // namespace

absl::Status FileSystem::MakeFolders(const std::string& folder) {
  for (size_t end = folder.find('/', 1);; end = folder.find('/', end + 1)) {
    const std::string path = folder.substr(0, end);
    GRADWIRE_ASSIGN_OR_RETURN(const bool made, MakeFolder(path));
    // Also where it was there: whoever made it may have been killed before the sync.  Then the
    // folder above may be one that we may not read.
    const absl::Status synced = SyncFolder(FolderOf(path));
    if (made) GRADWIRE_RETURN_IF_ERROR(synced);
    if (end == std::string::npos) return absl::OkStatus();
  }
}

FileSystem* PosixFileSystem() {
  static auto* const files = new PosixFiles;
  return files;
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
}

}  // namespace gradwire
