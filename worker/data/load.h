// SPDX-License-Identifier: Apache-2.0
// Finds and reads the training and test data that --data names.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/data/dataset.h"

namespace gradwire {

// `source` is a folder with the four files of MNIST's and Fashion-MNIST's names
// (train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte,
// t10k-labels-idx1-ubyte, each plain or with .gz), or "libsvm:TRAIN,TEST" with
// two paths.  NotFound and InvalidArgument name the file.
absl::StatusOr<DataPair> LoadData(absl::string_view source);

// About how much memory it will take; 0 where the files cannot be looked at.
uint64_t DataBytes(absl::string_view source);

}  // namespace gradwire
