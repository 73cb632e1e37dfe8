// SPDX-License-Identifier: Apache-2.0
// A TrainRequest as gRPC sends it, without a copy of the payloads in it.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <memory>

#include "gradwire/v1/service.pb.h"

namespace gradwire {

// Serialised.  Large payloads are slices that refer to the request's own bytes and keep it alive
// for as long as gRPC has them; it must not change meanwhile.
grpc::ByteBuffer RequestBuffer(const std::shared_ptr<const v1::TrainRequest>& request);

}  // namespace gradwire
