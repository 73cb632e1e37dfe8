// SPDX-License-Identifier: Apache-2.0
// Whether this build looks for faults of memory or threads, and takes ten times as long.
#pragma once

namespace gradwire {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace gradwire
