// SPDX-License-Identifier: Apache-2.0
// The operating system's files do what file_system.h says; that syncs reach the system is seen by
// standing in for its calls.
#include "common/base/file_system.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"

namespace {

// The files and folders synced so far, as the system numbers them.
std::vector<ino_t>* Synced() {
  static auto* const synced = new std::vector<ino_t>;
  return synced;
}

int NoteSync(long call, int fd) {
  struct stat info;
  if (::fstat(fd, &info) == 0) Synced()->push_back(info.st_ino);
  return static_cast<int>(::syscall(call, fd));
}

}  // namespace

extern "C" int fdatasync(int fd) { return NoteSync(SYS_fdatasync, fd); }
extern "C" int fsync(int fd) { return NoteSync(SYS_fsync, fd); }

namespace gradwire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FileSystemTest : public testing::Test {
 protected:
  FileSystemTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    Synced()->clear();
  }
  ~FileSystemTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  std::unique_ptr<WritableFile> MustCreate(const std::string& name) {
    auto file = files_->Create(Path(name));
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }
  std::string Contents(const std::string& name) { return *files_->Read(Path(name), 1 << 30); }
  static ino_t NumberOf(const std::string& path) {
    struct stat info;
    EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
    return info.st_ino;
  }

  FileSystem* const files_ = PosixFileSystem();
  const std::string folder_ = testing::TempDir() + "gradwire_file_system_test";
};

TEST_F(FileSystemTest, WritesWhereItIsTold) {
  const auto file = MustCreate("a");
  ASSERT_TRUE(file->Append("hello").ok());
  ASSERT_TRUE(file->Append(" world").ok());
  ASSERT_TRUE(file->WriteAt(0, "J").ok());
  EXPECT_EQ(file->size(), 11U);
  ASSERT_TRUE(file->WriteAt(13, "!").ok());
  EXPECT_EQ(file->size(), 14U);
  EXPECT_EQ(Contents("a"), std::string("Jello world\0\0!", 14));
  ASSERT_TRUE(file->Truncate(5).ok());
  ASSERT_TRUE(file->Append("fish").ok());
  EXPECT_EQ(Contents("a"), "Jellofish");
  ASSERT_TRUE(file->Truncate(10).ok());
  EXPECT_EQ(Contents("a"), std::string("Jellofish\0", 10));
  EXPECT_EQ(*files_->Size(Path("a")), 10U);
}

TEST_F(FileSystemTest, CreateEmptiesAndOpenToAppendDoesNot) {
  ASSERT_TRUE(MustCreate("a")->Append("old").ok());
  const auto appended = files_->OpenToAppend(Path("a"));
  ASSERT_TRUE(appended.ok()) << appended.status();
  EXPECT_EQ((*appended)->size(), 3U);
  ASSERT_TRUE((*appended)->Append("er").ok());
  EXPECT_EQ(Contents("a"), "older");
  EXPECT_EQ(MustCreate("a")->size(), 0U);
  EXPECT_EQ(Contents("a"), "");
  EXPECT_EQ(files_->OpenToAppend(Path("none")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FileSystemTest, ThreadsMayWriteDifferentBytesOfOneFile) {
  constexpr size_t kPiece = 4096;
  constexpr size_t kPieces = 64;
  const auto file = MustCreate("a");
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&file, thread] {
      for (size_t i = thread; i < kPieces; i += 4) {
        EXPECT_TRUE(
            file->WriteAt(i * kPiece, std::string(kPiece, static_cast<char>('0' + i))).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(file->size(), kPieces * kPiece);
  const std::string bytes = Contents("a");
  for (size_t i = 0; i < bytes.size(); ++i) {
    ASSERT_EQ(bytes[i], static_cast<char>('0' + i / kPiece)) << i;
  }
}

TEST_F(FileSystemTest, ReadsExactlyWhatWasAsked) {
  std::string bytes(3'000'000, 'x');
  bytes[2'500'000] = 'y';
  ASSERT_TRUE(MustCreate("a")->Append(bytes).ok());
  EXPECT_EQ(*files_->ReadRange(Path("a"), 2'499'999, 3), "xyx");
  EXPECT_EQ(*files_->ReadRange(Path("a"), 0, bytes.size()), bytes);
  EXPECT_EQ(*files_->ReadRange(Path("a"), bytes.size(), 0), "");
  const absl::Status beyond = files_->ReadRange(Path("a"), bytes.size() - 1, 2).status();
  EXPECT_EQ(beyond.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(beyond.message()),
              HasSubstr("wanted 2 bytes at offset 2999999, but only 1 are there"));
  EXPECT_EQ(*files_->Read(Path("a"), bytes.size()), bytes);
  EXPECT_EQ(files_->Read(Path("a"), bytes.size() - 1).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(FileSystemTest, AnOpenFileStaysWhatItWasWhenItsNameGoes) {
  const std::string path = folder_ + "/model";
  ASSERT_TRUE((*files_->Create(path))->Append("0123456789").ok());
  const auto file = files_->OpenToRead(path);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*files_->Create(path + ".new"))->Append("another").ok());
  ASSERT_TRUE(files_->Rename(path + ".new", path).ok());
  EXPECT_EQ(*(*file)->ReadAt(0, 10), "0123456789");
  ASSERT_TRUE(files_->Remove(path).ok());
  EXPECT_EQ((*file)->size(), 10u);
  EXPECT_EQ(*(*file)->ReadAt(3, 4), "3456");
  EXPECT_EQ(*(*file)->ReadAt(10, 0), "");
  EXPECT_EQ((*file)->ReadAt(7, 4).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(files_->OpenToRead(path).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FileSystemTest, ListsRenamesAndRemoves) {
  for (const char* name : {"b", "a", "c"}) ASSERT_TRUE(MustCreate(name)->Append(name).ok());
  ASSERT_TRUE(files_->MakeFolders(Path("folder")).ok());
  EXPECT_THAT(*files_->List(folder_), ElementsAre("a", "b", "c", "folder"));
  ASSERT_TRUE(files_->Rename(Path("a"), Path("c")).ok());
  ASSERT_TRUE(files_->Remove(Path("b")).ok());
  EXPECT_THAT(*files_->List(folder_), ElementsAre("c", "folder"));
  EXPECT_EQ(Contents("c"), "a");
}

TEST_F(FileSystemTest, ErrorsNameThePathAndTheReason) {
  const auto expect_not_found = [](const absl::Status& status, const std::string& path) {
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
    EXPECT_THAT(std::string(status.message()), HasSubstr("No such file"));
  };
  const std::string path = Path("no/such");
  expect_not_found(files_->Create(path).status(), path);
  expect_not_found(files_->OpenToAppend(path).status(), path);
  expect_not_found(files_->Read(path, 1).status(), path);
  expect_not_found(files_->ReadRange(path, 0, 1).status(), path);
  expect_not_found(files_->Size(path).status(), path);
  expect_not_found(files_->List(path).status(), path);
  expect_not_found(files_->Rename(path, path + "2"), path);
  expect_not_found(files_->Remove(path), path);
  expect_not_found(files_->SyncFolder(path), path);
  expect_not_found(files_->Lock(path).status(), path);
  ASSERT_TRUE(MustCreate("file")->Append("x").ok());
  EXPECT_THAT(std::string(files_->MakeFolders(Path("file/below")).message()),
              HasSubstr(Path("file")));
}

TEST_F(FileSystemTest, AFullDiskSaysHowMuchWasWanted) {
  const auto file = files_->OpenToAppend("/dev/full");
  ASSERT_TRUE(file.ok()) << file.status();
  const absl::Status status = (*file)->Append("12345");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("5 bytes at offset 0 of /dev/full"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("No space left"));
  EXPECT_EQ((*file)->size(), 0U);
  EXPECT_EQ(absl::ErrnoToStatusCode(EDQUOT), absl::StatusCode::kResourceExhausted);
}

TEST_F(FileSystemTest, SyncReachesTheSystem) {
  const auto file = MustCreate("a");
  ASSERT_TRUE(file->Append("x").ok());
  EXPECT_TRUE(Synced()->empty());
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_THAT(*Synced(), ElementsAre(NumberOf(Path("a"))));
  ASSERT_TRUE(files_->SyncFolder(folder_).ok());
  EXPECT_THAT(*Synced(), ElementsAre(NumberOf(Path("a")), NumberOf(folder_)));
}

TEST_F(FileSystemTest, MakesFoldersThatLast) {
  ASSERT_TRUE(files_->MakeFolders(Path("x/y")).ok());
  EXPECT_TRUE(std::filesystem::is_directory(Path("x/y")));
  EXPECT_THAT(*Synced(), testing::Contains(NumberOf(folder_)));
  EXPECT_THAT(*Synced(), testing::Contains(NumberOf(Path("x"))));
  EXPECT_TRUE(files_->MakeFolders(Path("x/y")).ok());
  EXPECT_TRUE(files_->MakeFolders(Path("x/y/")).ok());
}

TEST_F(FileSystemTest, ALockIsHeldByOneAndNamesIt) {
  auto lock = files_->Lock(Path("lock"));
  ASSERT_TRUE(lock.ok()) << lock.status();
  const absl::Status second = files_->Lock(Path("lock")).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      std::string(second.message()),
      HasSubstr(absl::StrCat(Path("lock"), " is held by process ", ::getpid(), " on host")));
  EXPECT_THAT(std::string(second.message()), HasSubstr("end that process first"));
  lock->reset();
  EXPECT_TRUE(files_->Lock(Path("lock")).ok());
}

TEST_F(FileSystemTest, ALockEndsWithItsProcess) {
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto lock = files_->Lock(Path("lock"));
    const char ok = lock.ok() ? '1' : '0';
    if (::write(ready[1], &ok, 1) != 1) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  char ok = '0';
  ASSERT_EQ(::read(ready[0], &ok, 1), 1);
  EXPECT_EQ(ok, '1');
  EXPECT_THAT(std::string(files_->Lock(Path("lock")).status().message()),
              HasSubstr(absl::StrCat("process ", child)));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
  EXPECT_TRUE(files_->Lock(Path("lock")).ok());
}

TEST(FolderOfTest, IsWhatIsBeforeTheLastSlash) {
  EXPECT_EQ(FolderOf("a"), ".");
  EXPECT_EQ(FolderOf("/a"), "/");
  EXPECT_EQ(FolderOf("/a/b"), "/a");
  EXPECT_EQ(FolderOf("a/b/c"), "a/b");
}

}  // namespace
}  // namespace gradwire
