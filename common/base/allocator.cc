// SPDX-License-Identifier: Apache-2.0
// Implementation of allocator.h.
#include "common/base/allocator.h"

#if defined(__GLIBC__) || __has_include(<malloc.h>)
#include <malloc.h>
#endif

namespace gradwire {

void KeepFreedMemory() {
#ifdef M_ARENA_MAX
  constexpr int kMaxFromHeap = 4 << 20;  // messages and blocks are smaller, models larger
  constexpr int kMaxKept = 512 << 20;
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, kMaxFromHeap);
  mallopt(M_TRIM_THRESHOLD, kMaxKept);
#endif
}

}  // namespace gradwire
