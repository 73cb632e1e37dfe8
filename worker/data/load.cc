// SPDX-License-Identifier: Apache-2.0
// Maps a data source to the reader of its format.
#include "worker/data/load.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/little_endian.h"
#include "common/base/status_macros.h"
#include "worker/data/idx.h"
#include "worker/data/libsvm.h"

namespace gradwire {
namespace {

// The plain file if it is there, else the gzipped one.
absl::StatusOr<std::string> FindIdxFile(absl::string_view folder, absl::string_view name) {
  const std::string plain = absl::StrCat(folder, "/", name);
  const std::string gzipped = absl::StrCat(plain, ".gz");
  std::error_code ignored;  // what cannot be looked at is not there
  if (std::filesystem::exists(plain, ignored)) return plain;
  if (std::filesystem::exists(gzipped, ignored)) return gzipped;
  return absl::NotFoundError(absl::StrCat(
      "data ", folder, ": neither ", name, " nor ", name,
      ".gz is there; name a folder with the four files of MNIST or Fashion-MNIST (Debian: package "
      "dataset-fashion-mnist, folder /usr/share/datasets/fashion-mnist) or libsvm:TRAIN,TEST"));
}

absl::StatusOr<DataPair> LoadIdxFolder(absl::string_view folder) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::string train_images,
                            FindIdxFile(folder, "train-images-idx3-ubyte"));
  GRADWIRE_ASSIGN_OR_RETURN(const std::string train_labels,
                            FindIdxFile(folder, "train-labels-idx1-ubyte"));
  GRADWIRE_ASSIGN_OR_RETURN(const std::string test_images,
                            FindIdxFile(folder, "t10k-images-idx3-ubyte"));
  GRADWIRE_ASSIGN_OR_RETURN(const std::string test_labels,
                            FindIdxFile(folder, "t10k-labels-idx1-ubyte"));
  DataPair pair;
  GRADWIRE_ASSIGN_OR_RETURN(pair.train, ReadIdx(train_images, train_labels));
  GRADWIRE_ASSIGN_OR_RETURN(pair.test, ReadIdx(test_images, test_labels));
  if (pair.train.features != pair.test.features) {
    return absl::InvalidArgumentError(absl::StrCat(train_images, " has ", pair.train.features,
                                                   " pixels an image, but ", test_images, " ",
                                                   pair.test.features));
  }
  return pair;
}

// Of a gzipped file: as its last four bytes say, which is right below 4 GiB.
uint64_t PlainBytes(const std::string& path) {
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(path, error);
  if (error) return 0;
  if (!absl::EndsWith(path, ".gz")) return size;
  std::ifstream file(path, std::ios::binary);
  char tail[4] = {};
  file.seekg(-static_cast<std::streamoff>(sizeof(tail)), std::ios::end);
  file.read(tail, sizeof(tail));
  return file ? LoadLittleEndian<uint32_t>(tail) : size;
}

}  // namespace

uint64_t DataBytes(absl::string_view source) {
  // A byte of an image becomes a float; of a LIBSVM file an entry takes at least four characters.
  constexpr uint64_t kPerByte = sizeof(float);
  uint64_t bytes = 0;
  if (absl::ConsumePrefix(&source, "libsvm:")) {
    for (const absl::string_view path : absl::StrSplit(source, ',')) {
      bytes += kPerByte * PlainBytes(std::string(path));
    }
    return bytes;
  }
  for (const char* name : {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                           "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
    const absl::StatusOr<std::string> path = FindIdxFile(source, name);
    if (path.ok()) bytes += kPerByte * PlainBytes(*path);
  }
  return bytes;
}

absl::StatusOr<DataPair> LoadData(absl::string_view source) {
  absl::string_view files = source;
  if (!absl::ConsumePrefix(&files, "libsvm:")) return LoadIdxFolder(source);
  const std::vector<std::string> paths = absl::StrSplit(files, ',');
  if (paths.size() != 2 || paths[0].empty() || paths[1].empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("data \"", source, "\": expected libsvm:TRAIN,TEST with two paths"));
  }
  return ReadLibsvm(paths[0], paths[1]);
}

}  // namespace gradwire
