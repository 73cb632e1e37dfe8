// SPDX-License-Identifier: Apache-2.0
// How this process's heap deals with memory that is freed.
#pragma once

namespace gradwire {

// For a program's main, before any thread exists: freed memory stays with the process for its next
// message, instead of going back to the kernel, which would have to clear every page of it anew.
// What the process holds is then the most that it ever needed.  Does nothing where the C library
// is not glibc.
void KeepFreedMemory();

}  // namespace gradwire
