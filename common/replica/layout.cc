// SPDX-License-Identifier: Apache-2.0
// Implementation of layout.h.
#include "common/replica/layout.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/replica/initializer.h"
#include "common/replica/model_tensors.h"

namespace gradwire {
namespace {

constexpr size_t kMaxNameBytes = 200;

absl::Status Wrong(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

// Names are keys of snapshots: printable, and apart from the snapshot's own.
absl::Status CheckName(const ModelTensor& tensor) {
  const std::string field = absl::StrCat(tensor.field, ".name");
  if (tensor.name.empty()) return Wrong(field, "empty; every tensor needs one");
  if (tensor.name.size() > kMaxNameBytes) {
    return Wrong(field, absl::StrCat(tensor.name.size(), " bytes are more than ", kMaxNameBytes));
  }
  for (const char c : tensor.name) {
    if (c > ' ' && c < '\x7f') continue;
    return Wrong(field, "only printable ASCII without spaces is allowed");
  }
  const bool kept = tensor.name == "__metadata__" || absl::StartsWith(tensor.name, "optimizer.") ||
                    absl::StartsWith(tensor.name, "feedback.") ||
                    absl::StartsWith(tensor.name, "codec.");
  if (kept) {
    return Wrong(field,
                 absl::StrCat("\"", tensor.name, "\" is kept for snapshots; choose another"));
  }
  return absl::OkStatus();
}

// The product of the shape, if the parameters stay within kMaxDimension with it.
absl::StatusOr<size_t> SizeOf(const ModelTensor& tensor, size_t offset) {
  uint64_t size = 1;
  const uint64_t room = kMaxDimension - offset;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    const uint64_t length = tensor.shape[i];
    if (length == 0) {
      return Wrong(absl::StrCat(tensor.field, ".shape[", i, "]"), "0; a tensor has no empty side");
    }
    if (length > room / size) {
      return Wrong(tensor.field,
                   absl::StrCat("with tensor \"", tensor.name, "\" the model has more than ",
                                kMaxDimension, " parameters, the limit"));
    }
    size *= length;
  }
  if (size > room) {  // a scalar behind a full layout
    return Wrong(tensor.field, absl::StrCat("more than ", kMaxDimension, " parameters, the limit"));
  }
  return static_cast<size_t>(size);
}

// The shape has been checked: its product is at most kMaxDimension.
absl::Status CheckInit(const ModelTensor& tensor) {
  const absl::Status status = MakeInitializer(tensor.init, tensor.shape).status();
  if (status.ok()) return status;
  return Wrong(absl::StrCat(tensor.field, ".init"), status.message());
}

}  // namespace

absl::StatusOr<Layout> Layout::FromModel(const v1::ModelConfig& model) {
  v1::ModelConfig filled = model;
  FillModelDefaults(&filled);
  GRADWIRE_ASSIGN_OR_RETURN(std::vector<ModelTensor> tensors, ExpandModel(filled));
  if (tensors.empty() || tensors.size() > kMaxTensors) {
    return Wrong("model",
                 absl::StrCat(tensors.size(), " tensors are not in [1, ", kMaxTensors, "]"));
  }
  Layout layout;
  absl::flat_hash_set<std::string> names;
  for (ModelTensor& tensor : tensors) {
    GRADWIRE_RETURN_IF_ERROR(CheckName(tensor));
    GRADWIRE_ASSIGN_OR_RETURN(const size_t size, SizeOf(tensor, layout.dimension_));
    GRADWIRE_RETURN_IF_ERROR(CheckInit(tensor));
    if (!names.insert(tensor.name).second) {
      return Wrong(absl::StrCat(tensor.field, ".name"),
                   absl::StrCat("\"", tensor.name, "\" is there already; names must differ"));
    }
    layout.tensors_.push_back({.name = std::move(tensor.name),
                               .shape = std::move(tensor.shape),
                               .init = std::move(tensor.init),
                               .offset = layout.dimension_,
                               .size = size});
    layout.dimension_ += size;
  }
  layout.Cut({{.first = 0, .end = layout.tensors_.size()}});
  return layout;
}

void Layout::Cut(absl::Span<const Segment> segments) {
  blocks_.clear();
  for (const Segment& segment : segments) {
    const TensorSpec& last = tensors_[segment.end - 1];
    const size_t end = last.offset + last.size;
    // A row longer than a block is cut like a vector.
    const size_t row = segment.whole_rows ? last.size / last.shape.front() : 0;
    const size_t columns = row <= kBlockSize ? row : 0;
    const size_t step = columns > 0 ? kBlockSize / columns * columns : kBlockSize;
    for (size_t offset = tensors_[segment.first].offset; offset < end; offset += step) {
      blocks_.push_back(
          {.offset = offset, .size = std::min(step, end - offset), .columns = columns});
    }
  }
}

void Layout::Keep(size_t first_block, size_t end_block) {
  const size_t begin = blocks_[first_block].offset;
  const size_t end = blocks_[end_block - 1].offset + blocks_[end_block - 1].size;
  std::vector<TensorSpec> kept;
  for (size_t t = 0; t < tensors_.size(); ++t) {
    TensorSpec& tensor = tensors_[t];
    const size_t from = std::max(tensor.offset, begin);
    const size_t to = std::min(tensor.offset + tensor.size, end);
    if (from >= to) continue;
    if (kept.empty()) first_tensor_ += t;
    if (to - from < tensor.size) {
      if (tensor.whole_shape.empty()) tensor.whole_shape = tensor.shape;
      tensor.shape = {to - from};
      tensor.begin += from - tensor.offset;
      tensor.size = to - from;
    }
    tensor.offset = from - begin;
    kept.push_back(std::move(tensor));
  }
  tensors_ = std::move(kept);
  blocks_.resize(end_block);
  blocks_.erase(blocks_.begin(), blocks_.begin() + static_cast<ptrdiff_t>(first_block));
  for (Block& block : blocks_) block.offset -= begin;
  first_block_ += first_block;
  first_coordinate_ += begin;
  dimension_ = end - begin;
}

std::string Layout::CoordinateName(size_t coordinate) const {
  const auto after = std::upper_bound(
      tensors_.begin(), tensors_.end(), coordinate,
      [](size_t place, const TensorSpec& tensor) { return place < tensor.offset; });
  const TensorSpec& tensor = *std::prev(after);
  return absl::StrCat(tensor.name, "[", tensor.begin + coordinate - tensor.offset, "]");
}

void Layout::Initialize(uint64_t seed, absl::Span<float> parameters) const {
  SetFloatEnvironment();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const TensorSpec& tensor = tensors_[i];
    const bool whole = tensor.whole_shape.empty();
    const auto initializer =
        MakeInitializer(tensor.init, whole ? tensor.shape : tensor.whole_shape);
    // FromModel has checked the text.
    if (initializer.ok()) {
      initializer->Fill(seed, first_tensor_ + i, parameters.subspan(tensor.offset, tensor.size),
                        tensor.begin);
    }
  }
}

}  // namespace gradwire
