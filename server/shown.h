// SPDX-License-Identifier: Apache-2.0
// What a gRPC call shows of its caller.
#pragma once

#include <grpcpp/grpcpp.h>

#include "server/access.h"

namespace gradwire {

// Empty where `access` asks for nothing.
Credentials ShownBy(const Access& access, const grpc::CallbackServerContext& context);

}  // namespace gradwire
