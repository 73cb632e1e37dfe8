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

  // Of a tensor that a shard has only a part of, as one row of `size` values: the whole one's.
  size_t begin = 0;                        // of the part in the tensor
  std::vector<uint64_t> whole_shape = {};  // empty: this is the whole
};

// A range of consecutive coordinates that is encoded by itself.
struct Block {
  size_t offset = 0;
  size_t size = 0;
  size_t columns = 0;  // above 0: size / columns whole rows of a matrix
};

// A run of tensors that no block may leave.
struct Segment {
  size_t first = 0;  // tensor
  size_t end = 0;
  bool whole_rows = false;  // it is one matrix, and blocks are cut between its rows
};

// Immutable once the job is made.
class Layout {
 public:
  // Expands a known architecture into its tensors.  InvalidArgument names the
  // field: empty or repeated names, a zero dimension, a product beyond kMaxDimension.
  static absl::StatusOr<Layout> FromModel(const v1::ModelConfig& model);

  absl::Span<const TensorSpec> tensors() const { return tensors_; }
  size_t dimension() const { return dimension_; }

  // Blocks of kBlockSize coordinates, the last of each segment shorter.  One segment at first.
  size_t blocks() const { return blocks_.size(); }
  const Block& block(size_t block) const { return blocks_[block]; }
  size_t block_offset(size_t block) const { return blocks_[block].offset; }
  size_t block_size(size_t block) const { return blocks_[block].size; }

  // Cuts anew.  Segments follow each other and hold all tensors.
  void Cut(absl::Span<const Segment> segments);

  // Leaves these blocks only: a shard's.  The parameters are then those of the blocks, and both are
  // counted from 0 again.
  void Keep(size_t first_block, size_t end_block);
  // In the whole model, of block 0 and of coordinate 0.
  size_t first_block() const { return first_block_; }
  size_t first_coordinate() const { return first_coordinate_; }

  // "layer1.weight[12]": for messages about a coordinate.
  std::string CoordinateName(size_t coordinate) const;

  // Version 0: the same bits on every machine.  `parameters` has dimension() values.
  void Initialize(uint64_t seed, absl::Span<float> parameters) const;

 private:
  std::vector<TensorSpec> tensors_;
  std::vector<Block> blocks_;
  size_t dimension_ = 0;
  size_t first_block_ = 0;
  size_t first_coordinate_ = 0;
  size_t first_tensor_ = 0;  // in the whole model, of tensors_[0]
};

}  // namespace gradwire
