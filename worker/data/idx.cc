// SPDX-License-Identifier: Apache-2.0
// Decodes IDX files; total on any input.
#include "worker/data/idx.h"

#include <algorithm>
#include <array>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "worker/data/file.h"
#include "worker/data/gzip.h"

namespace gradwire {
namespace {

absl::Status ReadExactly(ByteReader* reader, char* out, size_t n, absl::string_view what) {
  GRADWIRE_ASSIGN_OR_RETURN(const size_t got, reader->Read(out, n));
  if (got == n) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("truncated: ", what, " needs ", n, " bytes, ", got, " are there"));
}

uint32_t LoadBigEndian(const std::array<char, 4>& bytes) {
  uint32_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

absl::Status CheckMagic(const std::array<char, 4>& magic, size_t rank) {
  constexpr char kUnsignedByte = 0x08;
  if (magic[0] != 0 || magic[1] != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "not an IDX file: begins with 0x%02x%02x, not with 0x0000",
        static_cast<unsigned char>(magic[0]), static_cast<unsigned char>(magic[1])));
  }
  if (magic[2] != kUnsignedByte) {
    return absl::InvalidArgumentError(
        absl::StrFormat("IDX type 0x%02x; only 0x08 (unsigned bytes) can be read",
                        static_cast<unsigned char>(magic[2])));
  }
  const size_t given = static_cast<unsigned char>(magic[3]);
  if (given != rank) {
    return absl::InvalidArgumentError(absl::StrCat("IDX file with ", given, " sizes, expected ",
                                                   rank, rank == 1 ? " (labels)" : " (images)"));
  }
  return absl::OkStatus();
}

// The product, refused when it cannot be in the file.
absl::StatusOr<size_t> CountValues(absl::Span<const uint32_t> sizes, size_t max_remaining) {
  uint64_t count = 1;
  for (const uint32_t size : sizes) {
    if (size == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("IDX sizes ", absl::StrJoin(sizes, "x"), ": none may be 0"));
    }
    count *= size;  // both factors are below 2^32
    if (count > kMaxDatasetValues) {
      return absl::InvalidArgumentError(absl::StrCat("IDX sizes ", absl::StrJoin(sizes, "x"),
                                                     ": more than the limit of ", kMaxDatasetValues,
                                                     " values"));
    }
  }
  if (count > max_remaining) {
    return absl::InvalidArgumentError(
        absl::StrCat("truncated: IDX sizes ", absl::StrJoin(sizes, "x"), " need ", count,
                     " bytes, at most ", max_remaining, " are there"));
  }
  return count;
}

absl::StatusOr<IdxArray> DecodeFile(const std::string& path, size_t rank) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::string bytes, ReadDataFile(path));
  absl::StatusOr<IdxArray> array = DecodeIdx(bytes, rank);
  if (array.ok()) return array;
  return absl::Status(array.status().code(), absl::StrCat(path, ": ", array.status().message()));
}

std::vector<float> ScalePixels(absl::string_view pixels) {
  std::array<float, 256> scaled;
  for (size_t i = 0; i < scaled.size(); ++i) scaled[i] = static_cast<float>(i) / 255.0f;
  std::vector<float> values(pixels.size());
  for (size_t i = 0; i < pixels.size(); ++i) {
    values[i] = scaled[static_cast<unsigned char>(pixels[i])];
  }
  return values;
}

}  // namespace

absl::StatusOr<IdxArray> DecodeIdx(absl::string_view file, size_t rank) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::unique_ptr<ByteReader> reader, MakeByteReader(file));
  std::array<char, 4> magic;
  GRADWIRE_RETURN_IF_ERROR(ReadExactly(reader.get(), magic.data(), magic.size(), "IDX magic"));
  GRADWIRE_RETURN_IF_ERROR(CheckMagic(magic, rank));
  IdxArray array;
  for (size_t i = 0; i < rank; ++i) {
    std::array<char, 4> size;
    GRADWIRE_RETURN_IF_ERROR(ReadExactly(reader.get(), size.data(), size.size(), "IDX size"));
    array.sizes.push_back(LoadBigEndian(size));
  }
  GRADWIRE_ASSIGN_OR_RETURN(const size_t count, CountValues(array.sizes, reader->max_remaining()));
  array.values.resize(count);
  GRADWIRE_RETURN_IF_ERROR(ReadExactly(reader.get(), array.values.data(), count, "IDX values"));
  char extra;
  GRADWIRE_ASSIGN_OR_RETURN(const size_t more, reader->Read(&extra, 1));
  if (more > 0) {
    return absl::InvalidArgumentError(absl::StrCat("bytes behind the ", count,
                                                   " values that IDX sizes ",
                                                   absl::StrJoin(array.sizes, "x"), " announce"));
  }
  return array;
}

absl::StatusOr<Dataset> ReadIdx(const std::string& images_path, const std::string& labels_path) {
  GRADWIRE_ASSIGN_OR_RETURN(const IdxArray images, DecodeFile(images_path, 3));
  GRADWIRE_ASSIGN_OR_RETURN(const IdxArray labels, DecodeFile(labels_path, 1));
  if (images.sizes[0] != labels.sizes[0]) {
    return absl::InvalidArgumentError(absl::StrCat(images_path, " holds ", images.sizes[0],
                                                   " images, but ", labels_path, " ",
                                                   labels.sizes[0], " labels"));
  }
  Dataset data;
  data.rows = images.sizes[0];
  data.features = size_t{images.sizes[1]} * images.sizes[2];
  data.values = ScalePixels(images.values);
  data.labels.reserve(data.rows);
  for (const char label : labels.values) data.labels.push_back(static_cast<unsigned char>(label));
  data.classes = 1 + *std::max_element(data.labels.begin(), data.labels.end());
  return data;
}

}  // namespace gradwire
