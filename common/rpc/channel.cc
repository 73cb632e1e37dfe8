// SPDX-License-Identifier: Apache-2.0
// Channel arguments.  gRPC's defaults would let a second server share a port, grow the
// windows of a paused stream to tens of MiB and answer our keepalive with GOAWAY.
#include "common/rpc/channel.h"

#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/loopback.h"

namespace gradwire {
namespace {

constexpr int kKeepaliveTimeMs = 30000;
constexpr int kKeepaliveTimeoutMs = 10000;
constexpr int kMinPingIntervalMs = 20000;  // below kKeepaliveTimeMs, or the server hangs up
// What peers may take of a server: see deploy/README.md "Limits".
constexpr int kHandshakeTimeoutMs = 10000;  // TLS and HTTP/2's first frames
constexpr int kMaxIdleMs = 120000;          // a connection without calls
constexpr int kMaxStreams = 64;             // calls at once on one connection
constexpr int kFirstReconnectMs = 200;
constexpr int kMaxReconnectMs = 5000;
constexpr int kConnectTimeoutMs = 5000;
constexpr int kResolveAgainMs = 1000;
// Larger than gRPC's 16 KiB, for fewer of them; a heartbeat waits for one at most.
constexpr int kMaxFrameBytes = 256 << 10;

// gRPC's own order.  It obeys these silently, and a wrong one looks like a dead server.
void LogProxy(const std::string& address) {
  for (const char* name : {"grpc_proxy", "https_proxy", "http_proxy"}) {
    const char* proxy = std::getenv(name);
    if (proxy == nullptr || *proxy == '\0') continue;
    LogInfo(absl::StrCat("connecting to ", address, " through the proxy of $", name));
    return;
  }
}

}  // namespace

grpc::ChannelArguments ClientChannelArguments(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kMaxStreamWindow);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kMaxFrameBytes);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstReconnectMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, kResolveAgainMs);
  // Payloads are retried by their owner: gRPC's own replay would only hold a second copy.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // Workers of one process (tests) must not share a connection, nor its back-off.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (IsLoopback(address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

std::shared_ptr<grpc::Channel> NewClientChannel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  if (!IsLoopback(address)) LogProxy(address);
  return grpc::CreateCustomChannel(address, credentials, ClientChannelArguments(address));
}

void SetServerChannelArguments(size_t stream_window, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder->SetMaxSendMessageSize(kMaxMessageBytes);
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kMinPingIntervalMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // A peer that answers no ping is hung up on.
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kMaxIdleMs);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreams);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, static_cast<int>(kMaxMetadataBytes));
  builder->AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kMaxFrameBytes);
  builder->AddChannelArgument(
      GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES,
      static_cast<int>(std::clamp(stream_window, kMinStreamWindow, kMaxStreamWindow)));
}

}  // namespace gradwire
