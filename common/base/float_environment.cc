// SPDX-License-Identifier: Apache-2.0
// Implementation of float_environment.h.
#include "common/base/float_environment.h"

#include <cfenv>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace gradwire {

void SetFloatEnvironment() {
#if defined(__SSE2__)
  constexpr unsigned kDefaultMxcsr = 0x1F80;  // all exceptions masked, nearest, FTZ and DAZ off
  if ((_mm_getcsr() & ~0x3Fu) != kDefaultMxcsr) _mm_setcsr(kDefaultMxcsr);
#else
  if (std::fegetround() != FE_TONEAREST) std::fesetround(FE_TONEAREST);
#endif
}

}  // namespace gradwire
