// SPDX-License-Identifier: Apache-2.0
// The flags of gradwire certs.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace gradwire {

// Into --out; for worker-0 to worker-(`workers`-1) unless --worker_ids names others.
absl::Status MakeCertsOfFlags(const std::string& out, uint32_t workers);

}  // namespace gradwire
