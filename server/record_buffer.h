// SPDX-License-Identifier: Apache-2.0
// A record's part as the bytes of a TrainResponse, without a copy of the part.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <memory>

#include "common/replica/update_log.h"

namespace gradwire {

// The serialised TrainResponse{update_part}: a few bytes of tag and length, then the log's own
// bytes, which the buffer keeps alive.
grpc::ByteBuffer PartBuffer(std::shared_ptr<const Record> record, size_t part);

}  // namespace gradwire
