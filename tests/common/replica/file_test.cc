// SPDX-License-Identifier: Apache-2.0
// Files come whole or not at all, and errors name the path.
#include "common/replica/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace gradwire {
namespace {

using testing::HasSubstr;

class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~FileTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  size_t Entries() const {
    size_t entries = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      entries += entry.exists() ? 1 : 0;
    }
    return entries;
  }

 private:
  const std::string folder_ = testing::TempDir() + "gradwire_file_test";
};

TEST_F(FileTest, ReadsWhatWasWritten) {
  std::string bytes(3 << 20, 'x');
  bytes[5] = '\0';
  for (const std::string& want : {bytes, std::string(), std::string("short")}) {
    ASSERT_TRUE(WriteFileAtomically(Path("a"), want).ok());
    const auto got = ReadFile(Path("a"), bytes.size());
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_TRUE(*got == want);
    EXPECT_EQ(Entries(), 1U);  // nothing is left beside it
  }
}

TEST_F(FileTest, ReadsNoMoreThanItMay) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "12345").ok());
  EXPECT_TRUE(ReadFile(Path("a"), 5).ok());
  const absl::Status status = ReadFile(Path("a"), 4).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a: more than 4 bytes, the limit"));
}

TEST_F(FileTest, ErrorsNameThePath) {
  const absl::Status missing = ReadFile(Path("none"), 10).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr(Path("none")));
  EXPECT_FALSE(ReadFile(testing::TempDir(), 10).ok());
  const absl::Status no_folder = WriteFileAtomically(Path("no/such"), "x");
  EXPECT_EQ(no_folder.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(no_folder.message()), HasSubstr(Path("no/such")));
}

TEST_F(FileTest, AFailedWriteLeavesTheOldFileAlone) {
  std::filesystem::create_directories(Path("folder/inside"));
  EXPECT_FALSE(WriteFileAtomically(Path("folder"), "x").ok());  // cannot be renamed onto
  EXPECT_TRUE(std::filesystem::is_directory(Path("folder/inside")));
  EXPECT_EQ(Entries(), 1U);
}

}  // namespace
}  // namespace gradwire
