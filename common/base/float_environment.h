// SPDX-License-Identifier: Apache-2.0
// The state of the floating-point unit that identical bits depend on.
#pragma once

namespace gradwire {

// Sets round-to-nearest and keeps denormals (no FTZ, no DAZ) on this thread.
// Called on entry to encode and apply: a library in the process may have changed it.
void SetFloatEnvironment();

}  // namespace gradwire
