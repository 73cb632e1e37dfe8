// SPDX-License-Identifier: Apache-2.0
// How both sides set up their connections: message limits, keepalive, windows, back-off.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/channel_arguments.h>

#include <cstddef>
#include <memory>
#include <string>

#include "common/rpc/limits.h"

namespace gradwire {

// For a client of the server at `address` ("host:port").  A proxy from the environment
// (http_proxy) is not asked for an address on this machine.
grpc::ChannelArguments ClientChannelArguments(const std::string& address);

// Connects on first use; never null.
std::shared_ptr<grpc::Channel> NewClientChannel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials);

// Sets on `builder` what matches the above.  A port that is taken makes BuildAndStart
// return null (no SO_REUSEPORT).  `stream_window` is how many bytes a worker may send ahead on its
// stream; it is clamped to [kMinStreamWindow, kMaxStreamWindow].
void SetServerChannelArguments(size_t stream_window, grpc::ServerBuilder* builder);

}  // namespace gradwire
