// SPDX-License-Identifier: Apache-2.0
// Counts the pages of large allocations that a piece of code reads or writes, whatever code it is.
#pragma once

#include <cstddef>

namespace gradwire {

// A program that links touched_memory.cc gives every allocation of kLeastCounted bytes or more a
// mapping of its own.  From Start on these cannot be accessed: the first access to each page is a
// fault, which is counted, and gives the page back.  One counter at a time; what is freed or
// allocated meanwhile no longer counts, or not yet.
class TouchedMemory {
 public:
  static constexpr size_t kLeastCounted = size_t{1} << 20;
  static constexpr size_t kPage = 4096;

  void Start();
  // Everything can be accessed again.  How many pages were touched.
  size_t Stop();

  static size_t pages();  // of all such allocations
};

}  // namespace gradwire
