// SPDX-License-Identifier: Apache-2.0
// A vector of floats that are zero, and take no memory until they are written.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

#include "absl/types/span.h"

namespace gradwire {

// What the kernel gives is zero already: large vectors that nobody writes cost address space.
class ZeroedFloats {
 public:
  explicit ZeroedFloats(size_t size = 0) { Reset(size); }

  // So many zeros, whatever was there before.
  void Reset(size_t size) {
    values_.reset();  // first: not both at a time
    size_ = size;
    if (size == 0) return;
    values_.reset(static_cast<float*>(std::calloc(size, sizeof(float))));
    if (values_ == nullptr) throw std::bad_alloc();
  }

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  float* data() { return values_.get(); }
  const float* data() const { return values_.get(); }
  absl::Span<float> span() { return {data(), size_}; }
  absl::Span<const float> span() const { return {data(), size_}; }

 private:
  struct Free {
    void operator()(float* values) const { std::free(values); }
  };
  std::unique_ptr<float[], Free> values_;
  size_t size_ = 0;
};

}  // namespace gradwire
