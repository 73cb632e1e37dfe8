// SPDX-License-Identifier: Apache-2.0
// Maps a data source to the reader of its format.
#include "worker/data/load.h"

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
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

}  // namespace

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
