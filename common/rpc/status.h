// SPDX-License-Identifier: Apache-2.0
// absl::Status inside, grpc::Status at the edge.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace gradwire {

// Code and message, unchanged in both directions.
grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace gradwire
