// SPDX-License-Identifier: Apache-2.0
// The layout: how the flat vector of parameters is cut into named tensors and
// into blocks, and what its values are at version 0.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gradwire/v1/job.pb.h"

namespace gradwire {

inline constexpr size_t kBlockSize = size_t{1} << 18;     // coordinates
inline constexpr size_t kMaxDimension = size_t{1} << 31;  // 8 GiB of parameters
inline constexpr size_t kMaxTensors = 100000;

struct TensorSpec {
  std::string name;
  std::vector<uint64_t> shape;
  std::string init;   // see job.proto; checked
  size_t offset = 0;  // of its first value in the parameters
  size_t size = 0;
};

// Immutable.
class Layout {
 public:
  // Expands a known architecture into its tensors.  InvalidArgument names the
  // field: empty or repeated names, a zero dimension, a product beyond kMaxDimension.
  static absl::StatusOr<Layout> FromModel(const v1::ModelConfig& model);

  absl::Span<const TensorSpec> tensors() const { return tensors_; }
  size_t dimension() const { return dimension_; }

  size_t blocks() const { return (dimension_ + kBlockSize - 1) / kBlockSize; }
  size_t block_offset(size_t block) const { return block * kBlockSize; }
  size_t block_size(size_t block) const;

  // "layer1.weight[12]": for messages about a coordinate.
  std::string CoordinateName(size_t coordinate) const;

  // Version 0: the same bits on every machine.  `parameters` has dimension() values.
  void Initialize(uint64_t seed, absl::Span<float> parameters) const;

 private:
  std::vector<TensorSpec> tensors_;
  size_t dimension_ = 0;
};

}  // namespace gradwire
