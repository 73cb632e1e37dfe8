// SPDX-License-Identifier: Apache-2.0
// The two calls to OpenBLAS that are not matrix products.
#include "worker/models/blas.h"

#include <cblas.h>

namespace gradwire {

void UseOneBlasThread() { openblas_set_num_threads(1); }

std::string BlasCoreName() { return openblas_get_corename(); }

}  // namespace gradwire
