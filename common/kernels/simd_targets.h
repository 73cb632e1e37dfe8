// SPDX-License-Identifier: Apache-2.0
// For Highway sources, before any Highway header: the instruction sets that
// kernels are compiled for.  Each has a name in target.h and is tested by it.
#pragma once

#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
