// SPDX-License-Identifier: Apache-2.0
// IDX files: what is read, and that everything else is refused.
#include "worker/data/idx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/data/files.h"

namespace gradwire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kPixels("\x00\x01\x7f\x80\xfe\xff", 6);

TEST(IdxTest, PlainAndGzippedFilesGiveTheSameArray) {
  const std::string file = MakeIdx({1, 2, 3}, kPixels);
  const std::string members = Gzip(file.substr(0, 9)) + Gzip(file.substr(9));
  for (const std::string& bytes : {file, Gzip(file), members}) {
    const absl::StatusOr<IdxArray> array = DecodeIdx(bytes, 3);
    ASSERT_TRUE(array.ok()) << array.status();
    EXPECT_THAT(array->sizes, ElementsAre(1, 2, 3));
    EXPECT_EQ(array->values, kPixels);
  }
}

TEST(IdxTest, WhatIsNotAWholeFileIsRefused) {
  const std::string good = MakeIdx({1, 2, 3}, kPixels);
  std::string damaged = Gzip(good);
  damaged[damaged.size() - 6] ^= 1;  // in the checksum
  const std::string bomb = Gzip(MakeIdx({1, 2, 3}, std::string(5000000, '\0')));
  const struct {
    const char* name;
    std::string file;
    const char* want;
  } cases[] = {
      {"empty", "", "truncated: IDX magic needs 4 bytes, 0 are there"},
      {"text", "hello, this is text", "not an IDX file: begins with 0x6865"},
      {"type", std::string("\0\0\x0d\3", 4) + good.substr(4), "IDX type 0x0d"},
      {"rank", MakeIdx({6}, kPixels), "IDX file with 1 sizes, expected 3 (images)"},
      {"no sizes", good.substr(0, 15), "IDX size needs 4 bytes, 3 are there"},
      {"cut", good.substr(0, 21), "sizes 1x2x3 need 6 bytes, at most 5 are there"},
      {"too long", good + "x", "bytes behind the 6 values"},
      {"zero", MakeIdx({1, 0, 3}, ""), "sizes 1x0x3: none may be 0"},
      {"absurd", MakeIdx({4294967295, 4294967295, 4294967295}, kPixels), "more than the limit"},
      {"large", MakeIdx({1 << 10, 1 << 10, 1 << 10}, kPixels), "need 1073741824 bytes, at most 6"},
      {"gz cut", Gzip(good).substr(0, 20), "damaged or truncated gzip"},
      {"gz damaged", damaged, "damaged or truncated gzip"},
      {"gz of text", Gzip("hello, this is text"), "not an IDX file"},
      {"gz and more", Gzip(good) + "more", "damaged or truncated gzip"},
      {"gz large", Gzip(MakeIdx({1 << 10, 1 << 10, 1 << 10}, kPixels)), "at most"},
      {"gz bomb", bomb, "bytes behind the 6 values"},
      {"gz short", Gzip(MakeIdx({1, 2, 4}, kPixels)), "IDX values needs 8 bytes, 6 are there"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const absl::Status status = DecodeIdx(c.file, 3).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST(IdxTest, PixelsAreScaledAndLabelsCounted) {
  const std::string folder = MakeFolder("idx_pair");
  WriteFile(folder + "/images", MakeIdx({2, 1, 3}, kPixels));
  WriteFile(folder + "/labels.gz", Gzip(MakeIdx({2}, std::string("\x07\x02", 2))));
  const absl::StatusOr<Dataset> data = ReadIdx(folder + "/images", folder + "/labels.gz");
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->rows, 2);
  EXPECT_EQ(data->features, 3);
  EXPECT_EQ(data->classes, 8);
  EXPECT_THAT(data->labels, ElementsAre(7, 2));
  EXPECT_THAT(data->values,
              ElementsAre(0, 1 / 255.0f, 127 / 255.0f, 128 / 255.0f, 254 / 255.0f, 1));
  EXPECT_THAT(data->row(1), ElementsAre(128 / 255.0f, 254 / 255.0f, 1));
}

TEST(IdxTest, ErrorsOfFilesNameThePath) {
  const std::string folder = MakeFolder("idx_errors");
  const std::string images = folder + "/images";
  const std::string labels = folder + "/labels";
  WriteFile(images, MakeIdx({2, 1, 3}, kPixels));
  WriteFile(labels, MakeIdx({3}, "abc"));
  WriteFile(folder + "/text", "some text");
  const struct {
    std::string images, labels;
    absl::StatusCode code;
    std::string want;
  } cases[] = {
      {images, labels, absl::StatusCode::kInvalidArgument,
       images + " holds 2 images, but " + labels + " 3 labels"},
      {images, images, absl::StatusCode::kInvalidArgument, "3 sizes, expected 1 (labels)"},
      {folder + "/text", labels, absl::StatusCode::kInvalidArgument, folder + "/text: not an IDX"},
      {folder + "/none", labels, absl::StatusCode::kNotFound, folder + "/none: not there"},
      {folder, labels, absl::StatusCode::kInvalidArgument, folder + ": not a regular file"},
      {"/dev/zero", labels, absl::StatusCode::kInvalidArgument, "/dev/zero: not a regular file"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.want);
    const absl::Status status = ReadIdx(c.images, c.labels).status();
    EXPECT_EQ(status.code(), c.code);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

}  // namespace
}  // namespace gradwire
