// SPDX-License-Identifier: Apache-2.0
// How the trainer uses OpenBLAS: one thread, and which kernels it chose.
#pragma once

#include <string>

namespace gradwire {

// One thread from now on: with more, the order of a sum depends on their number.
// Idempotent; models that multiply matrices call it when they are made.
void UseOneBlasThread();

// The kind of CPU whose kernels OpenBLAS uses, such as "Haswell".  Gradients are the
// same bits only among workers with the same name.
std::string BlasCoreName();

}  // namespace gradwire
