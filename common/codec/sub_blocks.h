// SPDX-License-Identifier: Apache-2.0
// For codecs that cut a block into sub-blocks with scales of their own.
//
//   payload = scales codes
//   scales  = *fp32           ; so many of each sub-block in turn; finite, not negative
//   codes   =                 ; the codec's own
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/spec.h"
#include "common/codec/codec.h"

namespace gradwire {

// The parameter that says how many coordinates a sub-block has, and its value: a multiple of 8.
// 0: the whole block is one.
SpecParameter SubBlockParameter(absl::string_view name, absl::string_view default_value);
absl::StatusOr<size_t> SubBlockLength(const SpecValues& values, absl::string_view name);

// How a block is cut; the last sub-block may be shorter.
class SubBlocks {
 public:
  SubBlocks(size_t block_size, size_t length) : size_(block_size), length_(length) {
    if (length_ == 0 || length_ > size_) length_ = size_;
  }

  size_t count() const { return (size_ + length_ - 1) / length_; }

  // Calls f(s, begin, end) for each sub-block s that meets [first, last), with what they share.
  template <class F>
  void ForEachIn(size_t first, size_t last, const F& f) const {
    for (size_t begin = first; begin < last;) {
      const size_t s = begin / length_;
      const size_t end = std::min(last, (s + 1) * length_);
      f(s, begin, end);
      begin = end;
    }
  }

 private:
  const size_t size_;
  size_t length_;
};

// The nearest float, or the greatest one if that is infinite.
float FiniteFloat(double value);

// What scale number i of a payload says.
float LoadScale(absl::string_view payload, size_t i);

// InvalidArgument, naming the codec, unless the payload is `scales` scales and then `code_bytes`
// bytes, of which the last `unused_bits` bits are zero.
absl::Status CheckScaledPayload(absl::string_view codec, absl::string_view payload, size_t scales,
                                size_t code_bytes, size_t unused_bits);

}  // namespace gradwire
