// SPDX-License-Identifier: Apache-2.0
// Images and labels in the IDX format (of MNIST and its relatives), plain or gzip.
//
//   file    = 0x00 0x00 type rank size{rank} value*    ; rank: one byte
//   type    = 0x08                                     ; unsigned bytes, the only one read here
//   size    = uint32, big-endian; values in row-major order, the last size fastest
//
// Images have rank 3 (count, height, width), labels rank 1.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/data/dataset.h"

namespace gradwire {

struct IdxArray {
  std::vector<uint32_t> sizes;
  std::string values;  // as many bytes as the product of `sizes`
};

// `file` is whole or refused: InvalidArgument says what is wrong, and memory is
// taken only for bytes that can be there.  `rank`: how many sizes are expected.
absl::StatusOr<IdxArray> DecodeIdx(absl::string_view file, size_t rank);

// Pixels scaled to [0, 1] by 1/255, one row an image.  Messages name the path.
absl::StatusOr<Dataset> ReadIdx(const std::string& images_path, const std::string& labels_path);

}  // namespace gradwire
